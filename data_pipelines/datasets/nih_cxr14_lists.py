"""The four lists of NIH ChestX-ray14: entries, boxes and the two sides of the official split."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.datasets.shared.listings import read_columns, text_lines
from data_pipelines.datasets.shared.xray import Box
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import pathology_index

# The 14 labels in the order of the paper, as queries (SPEC 7).
CLASSES = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "effusion",
    "Infiltration": "infiltrate",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Emphysema": "emphysema",
    "Fibrosis": "tail_abnorm_obs",
    "Pleural_Thickening": "thicken",
    "Hernia": "hernia",
}
NO_FINDING = "No Finding"
# BBox_List_2017.csv has its own spelling of one of them.
BOX_CLASSES = CLASSES | {"Infiltrate": CLASSES["Infiltration"]}
LISTS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position", "Patient Age", "Patient Gender")
_BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h]"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of Data_Entry_2017: `present` are pathology indices, None if the cell of labels is empty; age ("058Y" in
    the first release, "58" later) and sex as written."""

    number: int
    image: str
    patient: str
    view: str
    present: tuple[int, ...] | None
    age: str = ""
    sex: str = ""


@dataclasses.dataclass(frozen=True)
class BoxRow:
    """A row of BBox_List_2017: a box of one pathology, in pixels of the 1024 x 1024 image."""

    number: int
    image: str
    box: Box


def read_entries(path: Path) -> Iterator[Entry]:
    """The rows in order. The header's `OriginalImage[Width,Height]` makes two columns, which nothing here needs.

    Raises:
      InputError: an unknown label, or whatever `read_columns` complains of.
    """
    for number, (image, labels, patient, view, age, sex) in read_columns(path, _COLUMNS):
        # "1" or "00000001": one patient, as the names of the image files write it.
        present = _present(labels, f"{path}: row {number}")
        yield Entry(number, image, patient and patient.zfill(8), view, present, age, sex)


def _present(labels: str, where: str) -> tuple[int, ...] | None:
    names = [name.strip() for name in labels.split("|") if name.strip()]
    if NO_FINDING in names and len(names) > 1:
        raise InputError(f"{where}: {NO_FINDING!r} together with other labels: {labels!r}")
    unknown = [name for name in names if name not in CLASSES and name != NO_FINDING]
    if unknown:
        raise InputError(f"{where}: label {unknown[0]!r} is none of {', '.join(CLASSES)}, {NO_FINDING}")
    return tuple(sorted({pathology_index(CLASSES[name]) for name in names if name in CLASSES})) if names else None


def read_boxes(path: Path) -> list[BoxRow]:
    """The rows in order, by position: the commas of the header's last name, `Bbox [x,y,w,h]`, cut it into four, and
    some of the published copies have three more, empty columns.

    Raises:
      InputError: another header, an unknown label, numbers that are none, or whatever `text_lines` complains of.
    """
    boxes: list[BoxRow] = []
    for number, line in text_lines(path):
        if number > 1:
            boxes.append(_box(number, [cell.strip() for cell in line.split(",")], f"{path}: row {number}"))
        elif not line.startswith(_BOX_HEADER):
            raise InputError(f"{path}: the header is {line}; expected {_BOX_HEADER}")
    return boxes


def _box(number: int, cells: list[str], where: str) -> BoxRow:
    if len(cells) < 6 or cells[1] not in BOX_CLASSES:
        raise InputError(
            f"{where}: expected an image, one of {', '.join(BOX_CLASSES)}, and x, y, w, h; got {','.join(cells)}"
        )
    try:
        x, y, w, h = map(float, cells[2:6])
    except ValueError as error:
        raise InputError(f"{where}: x, y, w, h are {cells[2:6]}; expected four numbers") from error
    if not all(map(math.isfinite, (x, y, w, h))) or min(w, h) <= 0:
        raise InputError(f"{where}: x, y, w, h are {cells[2:6]}; expected finite numbers, w and h above 0")
    return BoxRow(number, cells[0], Box((pathology_index(BOX_CLASSES[cells[1]]),), x, y, w, h))


def read_sides(root: Path) -> dict[str, str]:
    """Image -> "train_val" or "test".

    Raises:
      InputError: an image in both lists.
    """
    sides: dict[str, str] = {}
    for file, side in LISTS.items():
        for number, image in text_lines(root / file):
            if sides.setdefault(image, side) != side:
                raise InputError(f"{root / file}: row {number}: {image} is in {next(iter(LISTS))} too")
    return sides
