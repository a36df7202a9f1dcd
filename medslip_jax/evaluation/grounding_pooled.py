"""Grounding numbers over all (image, class) cases of a section, with intervals over patients."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from medslip_jax.evaluation.metrics.detection import IOU_THRESHOLDS, detection_report
from medslip_jax.evaluation.metrics.intervals import ends, mean_intervals

_KEYS = ("pointing_pixel", "pointing_cell", "iou", "dice")


@dataclasses.dataclass(frozen=True)
class Judged:
    """One class.

    Attributes:
      name: of the class.
      section: its part of the result.
      rows: int (n,), the images of its cases in the split.
      per_image: variant -> "pointing_pixel", "pointing_cell", "iou", "dice" of the "per-image" protocol, n values each,
        and the means "chance_pixel", "chance_cell".
      found: variant -> n arrays k x 4, the boxes around what that protocol marks.
      true: n arrays k x 4.
    """

    name: str
    section: Mapping
    rows: np.ndarray
    per_image: Mapping[str, Mapping]
    found: Mapping[str, Sequence[np.ndarray]]
    true: Sequence[np.ndarray]


def pooled(judged: Sequence[Judged], test: Mapping, *, focal: Sequence[str], resamples: int, seed: int) -> dict:
    """{"all": ..., "focal": ...} of those groups that have a case.

    Returns:
      For each group {"classes", "n_cases", "means", "chance", "intervals": by the same keys as "means", "detection"}. A
      key of "means" is one of the four numbers of the "per-image" protocol, followed by "_" and the variant except for
      "protocols". "chance" belongs to the pointing games. "detection" has a row for each variant and IoU threshold,
      with the interval of its "localisation_accuracy" as "low" and "high".
    """
    groups = {"all": list(judged), "focal": [one for one in judged if one.name in focal]}
    options = {"resamples": resamples, "seed": seed}
    return {group: _group(chosen, test, options) for group, chosen in groups.items() if chosen}


def _group(chosen: Sequence[Judged], test: Mapping, options: Mapping[str, int]) -> dict:
    variants = list(chosen[0].per_image)
    patients = test["patient_id"][np.concatenate([one.rows for one in chosen])]
    values: dict[str, np.ndarray] = {}
    ious = {}
    for variant in variants:
        joined = {
            key: np.concatenate([one.per_image[variant][key] for one in chosen], dtype=np.float64) for key in _KEYS
        }
        ious[variant] = joined["iou"]
        if "stride_aligned" in variant:  # its cells are those of the other upsampling
            del joined["pointing_cell"]
        values |= {key if variant == "protocols" else f"{key}_{variant}": column for key, column in joined.items()}
    located = {(v, t): (iou > t).astype(np.float64) for v, iou in ious.items() for t in IOU_THRESHOLDS}
    intervals = mean_intervals(values | located, patients=patients, **options)["means"]
    weights = [len(one.rows) for one in chosen]
    true, detection = [boxes for one in chosen for boxes in one.true], []
    for variant in variants:
        found = [boxes for one in chosen for boxes in one.found[variant]]
        for row in detection_report(found, true=true):
            at = (variant, row["iou_above"])
            share = {"localisation_accuracy": float(located[at].mean())}
            detection.append({"variant": variant} | row | share | ends(intervals[at]))
    return {
        "classes": [one.name for one in chosen],
        "n_cases": len(patients),
        "means": {key: float(column.mean()) for key, column in values.items()},
        "chance": {
            key: float(np.average([one.per_image["protocols"][key] for one in chosen], weights=weights))
            for key in ("chance_pixel", "chance_cell")
        },
        "intervals": {key: intervals[key] for key in values},
        "detection": detection,
    }
