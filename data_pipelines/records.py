"""The one record schema: what every data set becomes; nothing else knows its layout on disk.

A record is a plain dict:

    image        bytes, a grey JPEG or PNG file
    image_id     str, unique in its split
    patient_id   str, the unit of splits and of the bootstrap
    report       str, may be empty
    matrix       int8 (51, 75) in {-1, 0, 1}: 1 present, 0 stated absent, -1 not mentioned; for training
    labels       int8 (75,) in {-1, 0, 1}: the truth for evaluation; -1 = unknown, left out of every metric
    annotations  list of {"pathology": index or -1, "anatomy": index or -1, "box": float32 (4,), "mask": bytes} with
                 box = (x0, y0, x1, y1) as fractions of width and height, mask = PNG file or b""; a pathology of -1
                 marks the anatomy itself, such as a lung, and then an anatomy is required
    targets      only in data sets that ask for something which is none of the 75, such as COVIDx: {name: -1, 0 or 1},
                 the truth for a query that the user gives as text (SPEC 7); it never reaches training
    attributes   only where the data set says so: {"sex": "F" or "M", "age": years, "view": "PA", "AP" ...}, text or
                 numbers, for subgroup tables; what is unknown is left out

On disk it is a tf.train.Example in ArrayRecord. TFDS stores an int8 tensor as varints, 10 bytes for each -1
(38 kB a matrix), and its own zlib encoding does not work without TensorFlow; so matrix and labels are bytes
features: the matrix compressed (about 40 bytes), the labels raw (75 bytes). Targets and attributes are JSON objects,
and data sets without any have no such feature.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol

import numpy as np
import tensorflow_datasets as tfds

from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

MATRIX_SHAPE = (len(ANATOMIES), len(PATHOLOGIES))
LABELS_SHAPE = (len(PATHOLOGIES),)
KEYS = ("image", "image_id", "patient_id", "report", "matrix", "labels", "annotations")
OPTIONAL_KEYS = ("targets", "attributes")
ANNOTATION_KEYS = ("pathology", "anatomy", "box", "mask")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class Source(Protocol):
    """Random access to records, such as a built split."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict: ...


def features(optional: Sequence[str] = ()) -> tfds.features.FeaturesDict:
    """The TFDS features of one encoded record with those of `OPTIONAL_KEYS` (`Text` is TFDS's name for bytes)."""
    text = tfds.features.Text
    annotation = {
        "pathology": np.int32,
        "anatomy": np.int32,
        "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        "mask": text(),
    }
    fields = {key: text() for key in (*KEYS[:-1], *optional)}
    return tfds.features.FeaturesDict(fields | {"annotations": tfds.features.Sequence(annotation)})


def encode(record: Mapping) -> dict:
    """Validated record -> the example that a TFDS builder yields."""
    validate(record)
    optional = {key: json.dumps(record[key], sort_keys=True) for key in OPTIONAL_KEYS if key in record}
    return (
        dict(record)
        | optional
        | {
            "matrix": zlib.compress(np.ascontiguousarray(record["matrix"]).tobytes(), 6),
            "labels": np.ascontiguousarray(record["labels"]).tobytes(),
            "annotations": [dict(annotation) for annotation in record["annotations"]],
        }
    )


def decode(example: Mapping) -> dict:
    """Example as read back by TFDS -> record; `InputError` if a field does not fit the schema."""
    image_id = _text(example["image_id"])
    columns = example["annotations"]
    optional = {key: json.loads(_text(example[key])) for key in OPTIONAL_KEYS if key in example}
    return optional | {
        "image": example["image"],
        "image_id": image_id,
        "patient_id": _text(example["patient_id"]),
        "report": _text(example["report"]),
        "matrix": _int8(_decompress(example["matrix"], image_id), MATRIX_SHAPE, "matrix", image_id),
        "labels": _int8(example["labels"], LABELS_SHAPE, "labels", image_id),
        "annotations": [
            {"pathology": int(pathology), "anatomy": int(anatomy), "box": box, "mask": mask}
            for pathology, anatomy, box, mask in zip(*(columns[key] for key in ANNOTATION_KEYS), strict=True)
        ],
    }


def present(record: Mapping) -> tuple[str, ...]:
    """Names of the pathologies that a record's labels call present, in class order, and of such targets."""
    targets = (name for name, value in sorted(record.get("targets", {}).items()) if value == 1)
    return (*(PATHOLOGIES[i] for i in np.flatnonzero(record["labels"] == 1)), *targets)


def validate(record: Mapping) -> None:
    """Checks every field of a record against the schema above.

    Raises:
      InputError: one line `record image_id=...: what is wrong`, for the first field that does not fit.
    """
    image_id = record.get("image_id", "?")
    if set(record) - set(OPTIONAL_KEYS) != set(KEYS):
        _fail(image_id, f"keys are {sorted(record)}, expected {sorted(KEYS)}")
    if not isinstance(record["image"], bytes) or not record["image"].startswith(_MAGIC):
        _fail(image_id, "image is not the bytes of a JPEG or PNG file")
    for key in ("image_id", "patient_id", "report"):
        if not isinstance(record[key], str) or (key != "report" and not record[key].strip()):
            _fail(image_id, f"{key} is {record[key]!r}, expected {'text' if key == 'report' else 'non-empty text'}")
    check_labels(record["matrix"], MATRIX_SHAPE, "matrix", image_id)
    check_labels(record["labels"], LABELS_SHAPE, "labels", image_id)
    for number, annotation in enumerate(record["annotations"]):
        _check_annotation(annotation, f"annotation {number}", image_id)
    for name, value in record.get("targets", {}).items():
        if name in PATHOLOGIES or type(value) is not int or not -1 <= value <= 1:
            _fail(image_id, f"target {name!r} is {value!r}, expected -1, 0 or 1 and a name that is none of the classes")
    for name, value in record.get("attributes", {}).items():
        if type(value) not in (str, int, float) or value != value:
            _fail(image_id, f"attribute {name!r} is {value!r}, expected text or a number; leave out what is unknown")


def check_labels(array: np.ndarray, shape: tuple[int, ...], key: str, image_id: str) -> None:
    """`InputError` unless `array` is int8 of that shape with values in {-1, 0, 1}."""
    if not isinstance(array, np.ndarray) or array.dtype != np.int8:
        _fail(image_id, f"{key} is {getattr(array, 'dtype', type(array).__name__)}, expected an int8 array")
    if array.shape != shape:
        _fail(image_id, f"{key} has shape {array.shape}, expected {shape}")
    if array.min() < -1 or array.max() > 1:
        _fail(image_id, f"{key} has values {array.min()} .. {array.max()}, expected only -1, 0 and 1")


def _check_annotation(annotation: Mapping, name: str, image_id: str) -> None:
    if set(annotation) != set(ANNOTATION_KEYS):
        _fail(image_id, f"{name} has keys {sorted(annotation)}, expected {sorted(ANNOTATION_KEYS)}")
    pathology, anatomy, mask = annotation["pathology"], annotation["anatomy"], annotation["mask"]
    if not -1 <= pathology < len(PATHOLOGIES):
        _fail(image_id, f"{name} has pathology {pathology}, expected -1 .. {len(PATHOLOGIES) - 1}")
    if not -1 <= anatomy < len(ANATOMIES):
        _fail(image_id, f"{name} has anatomy {anatomy}, expected -1 .. {len(ANATOMIES) - 1}")
    if pathology == anatomy == -1:
        _fail(image_id, f"{name} names neither a pathology nor an anatomy")
    box = np.asarray(annotation["box"], np.float32)
    if box.shape != (4,) or not (np.all(box >= 0) and np.all(box <= 1) and np.all(box[:2] < box[2:])):
        _fail(image_id, f"{name} has box {box.tolist()}, expected fractions 0 <= x0 < x1 <= 1, 0 <= y0 < y1 <= 1")
    if not isinstance(mask, bytes) or (mask and not mask.startswith(_MAGIC[1])):
        _fail(image_id, f"{name} has a mask that is not the bytes of a PNG file (b'' for none)")


def _decompress(data: bytes, image_id: str) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise InputError(
            f"record image_id={image_id}: matrix cannot be read ({error}); build the data again"
        ) from error


def _int8(data: bytes, shape: tuple[int, ...], key: str, image_id: str) -> np.ndarray:
    if len(data) != np.prod(shape):
        _fail(image_id, f"{key} has {len(data)} entries, expected {np.prod(shape)} {shape}; build the data again")
    return np.frombuffer(data, np.int8).reshape(shape)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _fail(image_id: str, what: str) -> NoReturn:
    raise InputError(f"record image_id={image_id}: {what}")
