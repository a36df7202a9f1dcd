"""The listings of RSNA's download -> what they say of each image; reads no image."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.datasets.shared.cases import Drops
from data_pipelines.datasets.shared.listings import read_columns, read_json
from data_pipelines.datasets.shared.official import require_rows
from data_pipelines.datasets.shared.xray import Box
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import pathology_index

IMAGES = "stage_2_train_images"
# 20,672 images without pneumonia and 9,555 boxes of the 6,012 with it.
ROWS = 30_227
_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")
_CLASSES = {"Lung Opacity": "1", "No Lung Opacity / Not Normal": "0", "Normal": "0"}


@dataclasses.dataclass
class Labelled:
    """What the rows of one `patientId` say, the first being `row`; `wrong` is (kind, reason) if it is of no use."""

    row: int
    target: str
    boxes: list[Box] = dataclasses.field(default_factory=list)
    wrong: tuple[str, str] | None = None


def read_labels(drops: Drops, *, partial: bool) -> dict[str, Labelled]:
    """patientId -> what `drops.listing` says, in the order of the first rows. A row that says it again is a drop.

    Raises:
      InputError: a malformed file or row or, unless `partial`, another number of rows than the official one.
    """
    images: dict[str, Labelled] = {}
    path, rows = drops.listing, 0
    for number, (name, *numbers, target) in read_columns(path, _COLUMNS):
        rows += 1
        if not name or target not in ("0", "1", ""):
            raise InputError(f"{path}: row {number}: patientId {name!r}, Target {target!r}; expected an id and 0 or 1")
        image = images.setdefault(name, Labelled(number, target))
        box, wrong = _box(numbers, target)
        wrong = _against_sense(image, number, target, box) or wrong
        again = image.row != number and (box in image.boxes if box else target != "1")
        if again and not wrong:
            drops.add(number, f"{IMAGES}/{name}.dcm", "duplicate id", f"{name} is in row {image.row} already")
            continue
        image.wrong = image.wrong or wrong
        image.boxes += [box] if box else []
    require_rows(path, rows, official=ROWS, partial=partial)
    return images


def compare_classes(path: Path, images: Mapping[str, Labelled]) -> None:
    """Marks the images whose detailed class is against their `Target`; nothing without that file."""
    targets: dict[str, set[str]] = collections.defaultdict(set)
    for number, (name, said) in read_columns(path, ("patientId", "class")) if path.exists() else ():
        if said not in _CLASSES:
            raise InputError(f"{path}: row {number}: class {said!r} is none of {', '.join(_CLASSES)}")
        targets[name].add(_CLASSES[said])
    for name, image in images.items():
        if targets.get(name, {image.target}) != {image.target}:
            said = f"{name}: Target {image.target}, but {path.name} has another class"
            image.wrong = image.wrong or ("contradictory labels", said)


def read_patients(path: Path) -> dict[str, str]:
    """patientId -> number of the NIH patient, whose images are called <patient>_<number>.png."""
    patients = {}
    for number, entry in enumerate(read_json(path, list), start=1):
        try:
            patients[entry["subset_img_id"]] = entry["img_id"].split("_")[0]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: entry {number}: expected an object with subset_img_id and img_id") from error
    return patients


def _against_sense(image: Labelled, number: int, target: str, box: Box | None) -> tuple[str, str] | None:
    if target == "":
        return "no labels", f"row {number} has no Target"
    if target != image.target:
        said = f"row {image.row} has Target {image.target}, row {number} Target {target}"
        return "contradictory labels", said
    if target == "0" and box:
        return "contradictory labels", f"row {number} has Target 0 and a box"
    return None


def _box(numbers: Sequence[str], target: str) -> tuple[Box | None, tuple[str, str] | None]:
    """The box of a row's x, y, width, height, or (kind, reason) why there is none though there should be."""
    if not any(numbers):
        return None, ("unusable box", "Target 1 without a box") if target == "1" else None
    try:
        x, y, w, h = map(float, numbers)
    except ValueError:
        x = y = w = h = math.nan
    if all(map(math.isfinite, (x, y, w, h))) and min(x, y) >= 0 and min(w, h) > 0:
        return Box((pathology_index("pneumonia"),), x, y, w, h), None
    said = " ".join(f"{key}={value!r}" for key, value in zip(_COLUMNS[1:5], numbers, strict=True))
    return None, ("unusable box", f"{said}: expected x, y >= 0 and width, height > 0 in pixels")
