"""CSV file -> checked rows with a split each; reads only the CSV. Every complaint names file and row."""

import collections
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.datasets.building.plan import Drop
from data_pipelines.datasets.folder_options import FolderOptions
from data_pipelines.datasets.shared.listings import read_columns
from data_pipelines.datasets.shared.splits import split_of
from data_pipelines.images import is_left_behind
from medslip_jax.errors import InputError

# What programs write for nothing, in lower case: those that pandas reads as missing.
MISSING = frozenset(("nan", "-nan", "na", "<na>", "n/a", "#n/a", "#na", "nat", "null", "none"))


_EMPTY = "empty rows, skipped"
_MISSING = 'rows with cells that say "nan" or the like, taken as empty'
_LEFT_BEHIND = "rows of files that macOS and others leave beside images, skipped"
_REMARKS = (_EMPTY, _MISSING, _LEFT_BEHIND)


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


def read_rows(
    path: Path, options: FolderOptions, *, notes: list[str] | None = None, drops: list[Drop] | None = None
) -> list[Row]:
    """All rows of the CSV file but empty ones and those of what `is_left_behind`; "nan" and the like (`MISSING`) are
    empty cells.

    Args:
      path: of the file.
      options: of the data set.
      notes: grows by what to know of the rows, such as how many are empty.
      drops: grows by the rows that lack a patient, or anything to learn from; without it they are errors.

    Raises:
      InputError: an unreadable file, a missing or repeated column, a row with too few or too many cells, no image, no
        patient, neither report nor labels nor annotations, an unknown label or split, malformed boxes or masks, an
        image that comes twice, a patient in two splits.
    """
    columns = [
        *options.columns.values(),
        *(key for rule in options.annotated_everywhere for key in rule.get("where", {})),
    ]
    rows: list[Row] = []
    odd: dict[str, list[int]] = {remark: [] for remark in _REMARKS}
    for number, cells in read_columns(path, columns, empty_rows=odd[_EMPTY], repair="save it as UTF-8"):
        written = dict(zip(columns, cells, strict=True))
        present = _present(written, options)
        image = present[options.columns["image"]]
        odd[_MISSING] += [number] if present != written else []
        if is_left_behind(image):
            odd[_LEFT_BEHIND].append(number)
            continue
        try:
            rows.append(_row(number, present, options))
        except InputError as error:
            if drops is None or not error.kind:
                raise InputError(f"{path}: row {number}: {error}") from error
            drops.append(Drop(number, image, error.kind, str(error).partition(";")[0]))
    if not rows:
        first = f" that can be used, the first: row {drops[0].row}: {drops[0].reason}" if drops else ""
        raise InputError(f"{path}: no rows below the header{first}")
    _check_unique(path, rows)
    if notes is not None:
        found = ((remark, seen) for remark, seen in odd.items() if seen)
        notes += [f"{path.name}: {remark}: {len(seen)}, the first is row {seen[0]}" for remark, seen in found]
    return rows


def _present(cells: dict[str, str], options: FolderOptions) -> dict[str, str]:
    """The cells, "" for one that only says that there is nothing. A label of such a name stays one."""
    labels = options.columns.get("labels")
    named = {*options.label_map, *options.anatomy_map, *options.ignored_labels, options.no_finding}
    known = {column: cell for column, cell in cells.items() if column == labels and cell in named}
    return {column: "" if cell.casefold() in MISSING else cell for column, cell in cells.items()} | known


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
        said = "neither report nor labels nor boxes nor masks; remove the row or fill it in"
        raise InputError(said, kind="nothing to learn from")
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
        said = f"no patient in column {options.columns['patient']!r}; fill it in or build with policy skip"
        raise InputError(said, kind="no patient")
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
    numbers: list[Any] = [entry.get(key) for key in "xywh"]
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
