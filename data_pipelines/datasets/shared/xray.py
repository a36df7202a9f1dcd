"""One real X-ray with what its data set says of it -> a record. Shared by every data set that reads image files."""

import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_pipelines import images, radgraph, records, reports
from data_pipelines.datasets.building.plan import Job, Made
from data_pipelines.datasets.shared.attributes import attributes_of, odd_age
from data_pipelines.images import ImagePolicy, decode_rle, patient_tags
from data_pipelines.reports import TextPolicy, with_uncertain
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index

# From here a pixel of a mask belongs to it: a mask saved as JPEG or scaled has grey values around its edges.
_MASK_LEVEL = 128


@dataclasses.dataclass(frozen=True)
class Box:
    """A box in pixels of the image file, and the indices of the pathologies or of the anatomies that it marks."""

    pathologies: tuple[int, ...]
    x: float
    y: float
    w: float
    h: float
    anatomies: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Mask:
    """A mask of the image's size, as a file relative to the root or as SIIM's run lengths."""

    pathologies: tuple[int, ...]
    file: str = ""
    rle: str = ""
    anatomies: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class XRay:
    """What is known of an image before it is read.

    Attributes:
      image_id, patient: see `records`.
      report: text that the matrix is extracted from, unless `matrix` is given.
      matrix: `compressed` int8 (51, 75) from RadGraph, b"" for none.
      present: pathology indices that the labels name; annotated: those that they state whether present or not.
      has_labels: whether labels, not the report, are the truth of evaluation.
      boxes, masks: of findings, or of the anatomy itself.
      targets: (name, -1, 0 or 1) of what is none of the classes, see `records`.
      attributes: (name, value) of the patient and the image, see `attributes.py`; None in data sets without any.
    """

    image_id: str
    patient: str
    report: str = ""
    matrix: bytes = b""
    present: tuple[int, ...] = ()
    annotated: tuple[int, ...] = ()
    has_labels: bool = False
    boxes: tuple[Box, ...] = ()
    masks: tuple[Mask, ...] = ()
    targets: tuple[tuple[str, int], ...] = ()
    attributes: tuple[tuple[str, str | float], ...] | None = None


@dataclasses.dataclass(frozen=True)
class Storing:
    """How images are read and stored: `size` of the short side in pixels, "jpeg" or "png", and the reader's policy."""

    size: int = 256
    image_format: str = "jpeg"
    policy: ImagePolicy = dataclasses.field(default_factory=ImagePolicy)


def compressed(matrix: np.ndarray) -> bytes:
    """Int8 (51, 75) in about 40 bytes, for plans of hundreds of thousands of images."""
    return zlib.compress(np.ascontiguousarray(matrix, np.int8).tobytes(), 6)


def make(job: Job, *, root: Path, storing: Storing, text: TextPolicy = TextPolicy()) -> Made:
    """`Plan.encode` of X-rays: `job.file` is the image, `job.payload` its `XRay`.

    Nothing that one image can cause is raised: policy "skip" lists it and goes on, "fail" names the row.
    """
    path = root / job.file
    try:
        data = images.read_bytes(path)
        reading = images.read_image(data, name=str(path), policy=storing.policy)
        record = xray_record(job.payload, reading.grey, root=root, storing=storing, text=text)
        notes = (*reading.notes, *images.suspicions(reading.grey, colour=reading.colour))
        encoded = records.encode(record)
    except InputError as error:
        return Made(kind=error.kind or "unreadable image", reason=str(error))
    except (cv2.error, MemoryError, ValueError) as error:
        said = " ".join(str(error).split()) or "no message"
        return Made(kind="unreadable image", reason=f"{path}: {type(error).__name__}: {said}")
    digest = hashlib.sha256(data).hexdigest()
    return Made(record=encoded, sha256=digest, labels=records.present(record), notes=notes)


def make_dicom(job: Job, *, root: Path, storing: Storing) -> Made:
    """`make` of a DICOM file whose header says sex, age and view; an age that cannot be one is a note."""
    tags = patient_tags(root / job.file)
    payload = dataclasses.replace(job.payload, attributes=attributes_of(**tags))
    made, odd = make(dataclasses.replace(job, payload=payload), root=root, storing=storing), odd_age(tags["age"])
    return dataclasses.replace(made, notes=(*made.notes, odd)) if odd and made.record else made


def xray_record(
    xray: XRay, image: np.ndarray, *, root: Path, storing: Storing, text: TextPolicy = TextPolicy()
) -> dict:
    """An image as read (grey uint8 (H, W)) and what is known of it as a record.

    Raises:
      InputError: the image is a strip, a mask cannot be read, has another size than the image or no clear values, a
        box lies outside the image.
    """
    small = images.fit(image, storing.size, policy=storing.policy)
    annotations = [*_boxes(xray, image.shape), *_masks(xray, root, image.shape, small.shape)]
    return {
        "image": images.encode_grey(small, kind=storing.image_format),
        "image_id": xray.image_id,
        "patient_id": xray.patient,
        "report": xray.report,
        "matrix": matrix_of(xray, annotations, text=text),
        "labels": labels_of(xray, annotations, text=text),
        "annotations": annotations,
    } | _optional(xray)


def _optional(xray: XRay) -> dict:
    """Those of `records.OPTIONAL_KEYS` that the data set has."""
    targets = {"targets": dict(xray.targets)} if xray.targets else {}
    return targets | ({} if xray.attributes is None else {"attributes": dict(xray.attributes)})


def matrix_of(xray: XRay, annotations: list[dict], *, text: TextPolicy = TextPolicy()) -> np.ndarray:
    """Int8 (51, 75) for training: what the report says and, at anatomy "unspecified", what labels, boxes and masks
    say of a class that the report does not mention anywhere.

    If they say present, they also beat a report that only denies the class: "no effusion on the left" is no word
    on the right, and a class that `labels_of` calls present must have a place to learn it from.
    """
    matrix = _said(xray, text)
    stated = _stated(xray, annotations)
    in_report = matrix.max(axis=0)
    fill = (in_report == -1) | ((in_report == 0) & (stated == 1))
    matrix[anatomy_index("unspecified"), fill] = stated[fill]
    return matrix


def labels_of(xray: XRay, annotations: list[dict], *, text: TextPolicy = TextPolicy()) -> np.ndarray:
    """Int8 (75,) for evaluation: the labels where there are any, else what the report says; a class with a
    box or a mask is present. Report and labels are not mixed, so that a truth of labels stays free of
    extraction errors."""
    stated = _stated(xray, annotations)
    return stated if xray.has_labels else np.where(stated == 1, stated, _said(xray, text).max(axis=0))


def _said(xray: XRay, text: TextPolicy) -> np.ndarray:
    if xray.matrix:
        return np.frombuffer(zlib.decompress(xray.matrix), np.int8).reshape(records.MATRIX_SHAPE).copy()
    return report_matrix(xray.report, text=text).copy()


# Matrix and labels of a record ask for the same report one after the other.
@functools.lru_cache(maxsize=2)
def report_matrix(report: str, *, text: TextPolicy = TextPolicy()) -> np.ndarray:
    """Report text -> int8 (51, 75), all -1 for an empty one; read-only."""
    matrix = np.full(records.MATRIX_SHAPE, -1, np.int8)
    if report:
        entities = radgraph.read_entities(reports.extract(report), key="report")
        radgraph.fill_study(matrix, with_uncertain(entities, text.uncertain))
    matrix.setflags(write=False)
    return matrix


def _stated(xray: XRay, annotations: list[dict]) -> np.ndarray:
    """Int8 (75,): what labels, boxes and masks say; presence beats absence. A marked lung is no finding."""
    stated = np.full(records.LABELS_SHAPE, -1, np.int8)
    stated[list(xray.annotated)] = 0
    marked = (annotation["pathology"] for annotation in annotations if annotation["pathology"] >= 0)
    stated[[*xray.present, *marked]] = 1
    return stated


def _boxes(xray: XRay, shape: tuple[int, int]) -> Iterator[dict]:
    sides = np.array([shape[1], shape[0]] * 2, float)
    for box in xray.boxes:
        corners = (np.array([box.x, box.y, box.x + box.w, box.y + box.h]) / sides).clip(0, 1).astype(np.float32)
        if not (corners[:2] < corners[2:]).all():
            size = f"{shape[1]} x {shape[0]} pixels"
            raise InputError(
                f"box x={box.x} y={box.y} w={box.w} h={box.h} lies outside the image of {size}", kind="unusable box"
            )
        yield from _annotations(box, corners, b"")


def _masks(xray: XRay, root: Path, shape: tuple[int, int], stored: tuple[int, int]) -> Iterator[dict]:
    for entry in xray.masks:
        try:
            mask = _mask(entry, root=root, shape=shape, image_id=xray.image_id)
        except InputError as error:
            raise InputError(str(error), kind="unusable mask") from error
        rows, columns = (np.flatnonzero((mask >= _MASK_LEVEL).any(axis=axis)) for axis in (1, 0))
        if not rows.size:  # an organ or finding that the annotator looked for and did not see
            continue
        edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / np.array([shape[1], shape[0]] * 2)
        small = cv2.resize(mask, stored[::-1], interpolation=cv2.INTER_NEAREST)
        png = images.encode_grey(np.where(small >= _MASK_LEVEL, 255, 0).astype(np.uint8), kind="png")
        yield from _annotations(entry, edges.astype(np.float32), png)


def _mask(entry: Mask, *, root: Path, shape: tuple[int, int], image_id: str) -> np.ndarray:
    """uint8 of the image's shape; `InputError` for another shape, or values that are neither black nor white."""
    where = f"{root / entry.file}" if entry.file else f"mask of {image_id}"
    mask = images.read_grey(root / entry.file) if entry.file else decode_rle(entry.rle, shape=shape, name=where)
    if mask.shape != shape:
        raise InputError(f"{where}: mask of shape {mask.shape}, its image has {shape}")
    if 0 < mask.max() < _MASK_LEVEL:
        raise InputError(f"{where}: mask values end at {mask.max()}; expected 0 and 255")
    return mask


def _annotations(entry: Box | Mask, box: np.ndarray, mask: bytes) -> Iterator[dict]:
    meant = [*((pathology, -1) for pathology in entry.pathologies), *((-1, anatomy) for anatomy in entry.anatomies)]
    for pathology, anatomy in meant:
        yield {"pathology": pathology, "anatomy": anatomy, "box": box, "mask": mask}
