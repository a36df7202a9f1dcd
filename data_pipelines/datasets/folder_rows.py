"""CSV file -> checked rows with a split each; reads only the CSV. Every complaint names file and row."""

import collections
import csv
import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.datasets.building.plan import SPLITS
from data_pipelines.datasets.folder_options import FolderOptions
from medslip_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Row:
    """One row; `number` counts lines of a spreadsheet, the header being row 1.

    `annotated` holds the pathology indices that the row states whether present or not, `present` those it
    names, `has_labels` whether its label cell holds any that is not ignored; boxes are {"label", "x", "y", "w", "h"}
    in pixels of the image file, masks {"label", "file"}.
    """

    number: int
    image: str
    patient: str
    split: str
    report: str
    present: tuple[int, ...]
    annotated: tuple[int, ...]
    has_labels: bool
    boxes: tuple[dict, ...]
    masks: tuple[dict, ...]
    view: str
    sex: str = ""
    age: str = ""


def read_rows(path: Path, options: FolderOptions) -> list[Row]:
    """All rows of the CSV file.

    Raises:
      InputError: an unreadable file, a missing or repeated column, an empty row or one with too few or too many
        cells, no image, neither report nor labels nor annotations, an unknown label or split, malformed boxes or
        masks, an image that comes twice, a patient in two splits.
    """
    rows = []
    for number, cells in _cells(path, options):
        try:
            rows.append(_row(number, cells, options))
        except InputError as error:
            raise InputError(f"{path}: row {number}: {error}") from error
    if not rows:
        raise InputError(f"{path}: no rows below the header")
    _check_unique(path, rows)
    return rows


def split_of(patient: str, fractions: dict[str, float]) -> str:
    """The split of a patient from a hash of the id: the same on every machine and for all their images.

    The first 8 bytes of SHA-256 as a fraction in [0, 1): below the train share -> train, then validation,
    then test.
    """
    point = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64
    for split in SPLITS:
        point -= fractions.get(split, 0.0)
        if point < 0:
            return split
    return next(split for split in reversed(SPLITS) if fractions.get(split, 0.0) > 0)


def _cells(path: Path, options: FolderOptions) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot read the CSV file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{str(path)!r}: cannot read the CSV file ({error})") from error
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)
    number = 1
    try:
        header = next(reader, [])
        wanted = [
            *options.columns.values(),
            *(key for rule in options.annotated_everywhere for key in rule.get("where", {})),
        ]
        missing = [name for name in wanted if name not in header]
        if missing:
            raise InputError(f"{path}: no column {missing[0]!r}; the header has: {', '.join(header)}")
        twice = [name for name in wanted if header.count(name) > 1]
        if twice:
            raise InputError(f"{path}: column {twice[0]!r} is in the header more than once; rename one of them")
        for cells in reader:
            number += 1
            if not any(cell.strip() for cell in cells):
                raise InputError(f"{path}: row {number}: empty row; remove it")
            if len(cells) != len(header):
                raise InputError(f"{path}: row {number}: {len(cells)} cells, the header has {len(header)}")
            yield number, dict(zip(header, map(str.strip, cells), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: row {number + 1}: malformed CSV ({error})") from error


def _row(number: int, cells: dict[str, str], options: FolderOptions) -> Row:
    value = {key: cells[column] for key, column in options.columns.items()}
    if not value["image"]:
        raise InputError(f"no image in column {options.columns['image']!r}")
    written = [label.strip() for label in value.get("labels", "").split(options.label_separator) if label.strip()]
    # That an image shows a lung is no finding.
    labels = [label for label in written if not (label in options.ignored_labels or label in options.anatomy_map)]
    if options.no_finding in labels and len(labels) > 1:
        raise InputError(f"{options.no_finding!r} together with other labels: {value['labels']!r}")
    row = Row(
        number=number,
        image=value["image"],
        patient=_patient(value, options),
        split=_split(value, options),
        report=value.get("report", ""),
        present=tuple(sorted({index for label in labels for index in options.classes_of(label)})),
        annotated=_annotated(cells, labels, options),
        has_labels=bool(labels),
        boxes=tuple(_objects(value.get("boxes", ""), "boxes", _box, options)),
        masks=tuple(_objects(value.get("masks", ""), "masks", _mask, options)),
        view=value.get("view", ""),
        sex=value.get("sex", ""),
        age=value.get("age", ""),
    )
    if not (row.report or written or row.boxes or row.masks):
        raise InputError("neither report nor labels nor boxes nor masks; remove the row or fill it in")
    return row


def _annotated(cells: dict[str, str], labels: list[str], options: FolderOptions) -> tuple[int, ...]:
    """The classes that these labels make absent by not naming them. No labels state nothing."""
    if not labels:
        return ()
    rules = [
        rule
        for rule in options.annotated_everywhere
        if all(cells[key] == wanted for key, wanted in rule.get("where", {}).items())
    ]
    if rules:
        return tuple(sorted({i for rule in rules for name in rule["classes"] for i in options.classes_of(name)}))
    return options.mapped_classes() if options.no_finding in labels else ()


def _patient(value: dict[str, str], options: FolderOptions) -> str:
    patient = value.get("patient", value["image"])
    if not patient:
        raise InputError(f"no patient in column {options.columns['patient']!r}")
    return patient


def _split(value: dict[str, str], options: FolderOptions) -> str:
    if "split" not in value:
        return split_of(_patient(value, options), dict(options.split_fractions))
    if value["split"] not in options.split_names:
        raise InputError(f"split {value['split']!r} is none of {', '.join(options.split_names)}; see split_names")
    return options.split_names[value["split"]]


def _objects(cell: str, key: str, check, options: FolderOptions) -> Iterator[dict]:
    try:
        found = json.loads(cell or "[]")
    except ValueError as error:
        raise InputError(f"{key} is not valid JSON ({error})") from error
    if not isinstance(found, list):
        raise InputError(f"{key} is {type(found).__name__}, expected a JSON list of objects")
    for entry in found:
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
            raise InputError(f"{key} has {entry!r}; expected an object with a 'label'")
        if options.classes_of(entry["label"]) or options.anatomies_of(entry["label"]):
            yield check(entry)


def _box(entry: dict) -> dict:
    numbers = [entry.get(key) for key in "xywh"]
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers) or min(numbers[2:]) <= 0:
        raise InputError(f"box {entry!r}: expected numbers x, y and w, h > 0 in pixels")
    return {"label": entry["label"]} | dict(zip("xywh", numbers, strict=True))


def _mask(entry: dict) -> dict:
    if not isinstance(entry.get("file"), str) or not entry["file"]:
        raise InputError(f"mask {entry!r}: expected a 'file'")
    return {"label": entry["label"], "file": entry["file"]}


def _check_unique(path: Path, rows: list[Row]) -> None:
    first: dict[str, int] = {}
    splits: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for row in rows:
        if row.image in first:
            raise InputError(f"{path}: row {row.number}: image {row.image!r} is in row {first[row.image]} already")
        first[row.image] = row.number
        splits[row.patient].setdefault(row.split, row.number)
    for patient, found in splits.items():
        if len(found) > 1:
            where = ", ".join(f"{split} (row {number})" for split, number in found.items())
            raise InputError(f"{path}: patient {patient!r} is in {where}; one patient belongs to one split")
