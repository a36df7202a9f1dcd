"""Zero-shot grounding protocols of SPEC 7 on scored splits: maps and annotations in, JSON-able reports out.

Boxes and masks are two truths, judged side by side and never mixed; so are the maps of pathologies alone and weighted
by the anatomy maps, each upsampled as released and with the network's stride in mind (`metrics.regions`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from data_pipelines.loading import usable_cores
from medslip_jax.evaluation.grounding_cases import GROUNDING_SIZE, Stream, Truth, attention_grids, grounding_cases
from medslip_jax.evaluation.grounding_pooled import Judged, pooled
from medslip_jax.evaluation.metrics.detection import component_boxes, detection_report, localisation_accuracy
from medslip_jax.evaluation.metrics.grounding import binary_maps, grounding_reports

# Protocols and thresholds (None: the protocol's own) that need no validation split.
_ASKED = (
    ("per-image", None),
    ("released", 0.0),
    ("released", 0.01),
    ("fixed-0.008-raw", None),
    ("best-dice-test-oracle", None),
)
# Key of the result -> which maps, how upsampled. A weighted map is a pathology map times the mean of all anatomy maps.
VARIANTS = {
    "protocols": ("alone", "cells"),
    "stride_aligned": ("alone", "strided"),
    "anatomy_weighted": ("anatomy-weighted", "cells"),
    "anatomy_weighted_stride_aligned": ("anatomy-weighted", "strided"),
}
# Of a strided map the cells are those of the other one, so their numbers would only be said twice.
_CELL_KEYS = ("pointing_cell", "chance_cell", "argmax_cells")
_CHUNK = 256
# Threads that judge a class each: OpenCV and NumPy, which do the work, let the others run. Each holds some 300 MB.
_MOST_THREADS = 8


@dataclasses.dataclass(frozen=True)
class _Judge:
    """What is judged, and by which truth."""

    test: Mapping
    validation: Mapping
    truth: Truth
    stream: Stream = "pathology"

    def maps(self, split: Mapping, column: int, rows: np.ndarray, *, weighting: str) -> np.ndarray:
        """float (n, side, side) of one class on those rows of a split."""
        key = "pathology_map" if self.stream == "pathology" else "anatomy_maps"
        maps = attention_grids(split[key][rows, column])
        return maps * attention_grids(split["anatomy_map"][rows]) if weighting == "anatomy-weighted" else maps

    @property
    def variants(self) -> dict[str, tuple[str, str]]:
        weighted = self.stream == "pathology" and "anatomy_map" in self.test
        return {key: value for key, value in VARIANTS.items() if weighted or value[0] == "alone"}


def ground(
    test: Mapping,
    *,
    validation: Mapping | None,
    classes: Sequence[str],
    anatomies: Sequence[str] = (),
    focal: Sequence[str] = (),
    resamples: int,
    seed: int = 0,
) -> dict:
    """Pointing game, IoU, Dice and detection of the maps on the images that have a finding or an anatomy marked.

    Args:
      test: the identified split; its "pathology_map" is for `classes`, its "anatomy_maps" for `anatomies`, in order.
      validation: for the "best-dice-validation" threshold, or None.
      classes: names of pathologies, of which the `focal` ones are also averaged as "focal".
      anatomies: names of anatomies that are marked themselves (annotations with pathology -1).
      resamples, seed: of the patient-level bootstrap of the pooled numbers.

    Returns:
      {"size", "truth": "boxes", "classes", "pooled"}, and where there is such a truth "masks" and "anatomy", each
      {"truth", "classes", "pooled"}. "classes" is {name: {"n_images"; for each of `VARIANTS` that the model has a list
      of `grounding_reports` without their per-image part, one a protocol, with "maps" and "upsampling"; "detection":
      rows by variant and IoU threshold of the "per-image" prediction}}. "pooled": see `grounding_pooled.pooled`.
      "released" divides by the maximum over all marked images of the class in the split. Anatomies are judged by masks
      if any has one, else by boxes.
    """
    options = {"resamples": resamples, "seed": seed}

    def section(names: Sequence[str], truth: Truth, stream: Stream = "pathology") -> dict:
        judge = _Judge(test, validation or {"annotations": ()}, truth, stream)
        with ThreadPoolExecutor(min(usable_cores(), _MOST_THREADS)) as pool:
            every = pool.map(lambda column: _judged(judge, names[column], column), range(len(names)))
            bar = tqdm(every, total=len(names), desc=f"grounding by {truth}", unit="class", disable=None, leave=False)
            judged = [one for one in bar if one is not None]
        return {
            "truth": truth,
            "classes": {one.name: one.section for one in judged},
            "pooled": pooled(judged, test, focal=focal, **options),
        }

    result = {"size": GROUNDING_SIZE, **section(classes, "boxes")}
    marks = [mark for annotations in test["annotations"] for mark in annotations]
    if any(mark["mask"] and mark["pathology"] >= 0 for mark in marks):
        result["masks"] = section(classes, "masks")
    if anatomies and "anatomy_maps" in test:
        masked = any(mark["mask"] and mark["pathology"] < 0 for mark in marks)
        result["anatomy"] = section(anatomies, "masks" if masked else "boxes", "anatomy")
    return result


def _judged(judge: _Judge, name: str, column: int) -> Judged | None:
    """All numbers of one class; None if no image has it marked."""
    cases = grounding_cases(judge.test, name, truth=judge.truth, stream=judge.stream)
    if not len(cases.index):
        return None
    tuned = grounding_cases(judge.validation, name, truth=judge.truth, stream=judge.stream)
    section: dict = {"n_images": len(cases.index)}
    per_image, found, detection = {}, {}, []
    for key, (weighting, upsampling) in judge.variants.items():
        maps = judge.maps(judge.test, column, cases.index, weighting=weighting)
        asked = [*_ASKED]
        if len(tuned.index):
            own = judge.maps(judge.validation, column, tuned.index, weighting=weighting)
            best = [("best-dice-test-oracle", None)]
            (oracle,) = grounding_reports(own, targets=tuned.targets, protocols=best, upsampling=upsampling)
            asked.append(("best-dice-validation", oracle["threshold"]))
        reports = grounding_reports(maps, targets=cases.targets, protocols=asked, upsampling=upsampling)
        tags = {"maps": weighting, "upsampling": upsampling}
        section[key] = [_plain(report, upsampling) | tags for report in reports]
        per_image[key] = reports[0]["per_image"] | {k: reports[0][k] for k in ("chance_pixel", "chance_cell")}
        found[key] = _components(maps, upsampling)
        shares = localisation_accuracy(per_image[key]["iou"])
        rows = detection_report(found[key], true=cases.boxes)
        detection += [tags | row | {"localisation_accuracy": s} for row, s in zip(rows, shares, strict=True)]
    section["detection"] = detection
    return Judged(name, section, cases.index, per_image, found, true=cases.boxes)


def _components(maps: np.ndarray, upsampling: str) -> list[np.ndarray]:
    """Boxes around what the "per-image" protocol marks."""
    size = (GROUNDING_SIZE, GROUNDING_SIZE)
    chunks = (maps[start : start + _CHUNK] for start in range(0, len(maps), _CHUNK))
    marked = (binary_maps(chunk, size=size, upsampling=upsampling) for chunk in chunks)
    return [boxes for masks in marked for boxes in component_boxes(masks)]


def _plain(report: Mapping, upsampling: str) -> dict:
    left_out = ("per_image", *(_CELL_KEYS if upsampling == "strided" else ()))
    return {key: value for key, value in report.items() if key not in left_out}
