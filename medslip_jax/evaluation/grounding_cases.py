"""The truth of grounding: which images have a finding or an anatomy marked, by boxes or by masks, and their maps."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from data_pipelines.images import decode_grey
from data_pipelines.records import Source
from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.regions import box_masks, mask_targets
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES, anatomy_index, pathology_index

# Side of the grid on which maps and truth are compared; the resolution of the paper's input.
GROUNDING_SIZE = 224

Truth = Literal["boxes", "masks"]
Stream = Literal["pathology", "anatomy"]


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
    """n images with something marked: their rows `index`, `targets` bool (n, 224, 224), `boxes` float k x 4 each."""

    index: np.ndarray
    targets: np.ndarray
    boxes: list[np.ndarray]


def annotated(source: Source) -> dict[str, list[str]]:
    """{"pathologies", "anatomies"}: names of those that any record of a split has marked, in vocabulary order.

    An anatomy counts only if it is marked itself, not as the place of a finding.
    """
    marks = {
        (mark["pathology"], -1 if mark["pathology"] >= 0 else mark["anatomy"])
        for i in range(len(source))
        for mark in source[i]["annotations"]
    }
    return {
        "pathologies": [PATHOLOGIES[i] for i in sorted({pathology for pathology, _ in marks} - {-1})],
        "anatomies": [ANATOMIES[i] for i in sorted({anatomy for _, anatomy in marks} - {-1})],
    }


def grounding_cases(split: Mapping, name: str, *, truth: Truth = "boxes", stream: Stream = "pathology") -> Cases:
    """The images of a split that have a finding, or an anatomy itself, marked.

    Args:
      split: has "annotations", a list for each image (`data_pipelines.records`).
      name: of a pathology, or of an anatomy with stream="anatomy".
      truth: "boxes" takes the box of every annotation, also of one with a mask; "masks" only those with a mask. One
        image's truth is the union of its boxes, or of its masks.
      stream: "pathology", or "anatomy" for annotations of the anatomy itself, whose pathology is -1.
    """
    marks = [_marks(annotations, name, truth=truth, stream=stream) for annotations in split["annotations"]]
    index = np.flatnonzero([len(found) > 0 for found in marks])
    boxes = [np.array([mark["box"] for mark in marks[i]], np.float64).reshape(-1, 4) for i in index]
    size = (GROUNDING_SIZE, GROUNDING_SIZE)
    if truth == "boxes":
        targets = box_masks(boxes, size=size)
    else:
        names = split.get("image_id", np.arange(len(marks)))
        targets = mask_targets([_union(marks[i], where=str(names[i])) for i in index], size=size)
    return Cases(index, targets, boxes)


def attention_grids(maps: np.ndarray) -> np.ndarray:
    """(n, patches) -> (n, side, side); the grid of a square image is square."""
    side = round(maps.shape[-1] ** 0.5)
    return maps.reshape(*maps.shape[:-1], side, side)


def _marks(annotations: list[dict], name: str, *, truth: Truth, stream: Stream) -> list[dict]:
    if stream == "pathology":
        wanted = pathology_index(name)
        found = [a for a in annotations if a["pathology"] == wanted]
    else:
        wanted = anatomy_index(name)
        found = [a for a in annotations if a["pathology"] == -1 and a["anatomy"] == wanted]
    return found if truth == "boxes" else [a for a in found if a["mask"]]


def _union(marks: list[dict], *, where: str) -> np.ndarray:
    masks = [decode_grey(mark["mask"], name=f"mask of {where}") for mark in marks]
    if len({mask.shape for mask in masks}) > 1:
        raise InputError(f"image {where}: its masks have different sizes; build the data again")
    return np.max(masks, axis=0)
