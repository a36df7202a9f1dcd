"""Which images the page on a run shows: by a rule that is printed on the page, not by how they look."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from medslip_jax.report.run_scores import threshold_source
from medslip_jax.vocabulary import NORMAL_OBSERVATIONS

KINDS = ("true positive", "false positive", "miss")
RULE = (
    "Rule. Classes: those that the evaluation names as focal, then the others by their number of positives; only "
    "classes with both kinds of labels and, where the results hold heat maps, with a heat map. Of each class in turn, "
    "until there are enough: the true positive with the median probability (the lower one of two), the false positive "
    "with the highest, and the miss with the lowest. Among equals the first in the data set. A class without such an "
    "image gives none."
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """An image for the gallery: kind of `KINDS`, class, its column, row of the predictions, and the decision."""

    kind: str
    name: str
    column: int
    row: int
    probability: float
    threshold: float
    source: str


def choose(predictions: Mapping[str, np.ndarray], report: Mapping, *, focal: Sequence[str], count: int) -> list[Choice]:
    """At most `count` images by `RULE`; a finding is said to be there if its probability is above the threshold.

    Args:
      predictions: arrays of `predictions.npz`.
      report: of `classification_report` on them; it has the thresholds.
      focal: names of classes that come first.
      count: of images.
    """
    names = [str(name) for name in predictions["pathology_names"]]
    source = threshold_source(report)
    found: list[Choice] = []
    for name in _classes(predictions, report, focal=focal):
        threshold = report["classes"][name]["by_threshold_source"].get(source, {}).get("threshold")
        if threshold is None:
            continue
        column = names.index(name)
        scores, labels = predictions["pathology"][:, column], predictions["labels"][:, column]
        for kind, row in pick(scores, labels, threshold=threshold).items():
            found.append(Choice(kind, name, column, row, float(scores[row]), float(threshold), source))
    return found[:count]


def pick(scores: np.ndarray, labels: np.ndarray, *, threshold: float) -> dict[str, int]:
    """{kind: row} of one class.

    Example: scores .9 .8 .7 .6 .2, labels 1 0 1 1 1, threshold .5 -> true positive 2 (.7), false positive 1, miss 4.
    """
    said = scores > threshold
    rows = {
        "true positive": np.flatnonzero(said & (labels == 1)),
        "false positive": np.flatnonzero(said & (labels == 0)),
        "miss": np.flatnonzero(~said & (labels == 1)),
    }
    # Rising, equal ones in the order of the data.
    ranked = {kind: found[np.argsort(scores[found], kind="stable")] for kind, found in rows.items()}
    places = {"true positive": lambda r: r[(len(r) - 1) // 2], "miss": lambda r: r[0]}
    places["false positive"] = lambda r: r[np.argmax(scores[r])]
    return {kind: int(places[kind](found)) for kind, found in ranked.items() if len(found)}


def _classes(predictions: Mapping[str, np.ndarray], report: Mapping, *, focal: Sequence[str]) -> list[str]:
    mapped = [str(name) for name in predictions["map_names"]] if "map_names" in predictions else None
    usable = [
        name
        for name, row in report["classes"].items()
        if row["auroc"] is not None
        and name not in NORMAL_OBSERVATIONS
        and name in predictions["pathology_names"]
        and (mapped is None or name in mapped)
    ]
    by_count = sorted(usable, key=lambda name: -report["classes"][name]["n_positive"])
    return [name for name in focal if name in usable] + [name for name in by_count if name not in focal]
