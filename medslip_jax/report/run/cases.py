"""Which images the page on a run shows: by a rule that is printed on the page, not by how they look."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from medslip_jax.evaluation.result_files import Results
from medslip_jax.report.tables.classification import best_source
from medslip_jax.vocabulary import NORMAL_OBSERVATIONS

RULE = (
    "Rule. Queries given as text come first, then the classes that the evaluation names as focal, then the others by "
    "their number of positives; only those with both kinds of labels, and classes without a heat map only where the "
    "results hold none at all. Of each in turn, until there are enough: the true positive with the median probability "
    "(the lower one of two), the false positive with the highest, and the miss with the lowest. Among equals the first "
    "in the data set. One without such an image gives none."
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """An image for the gallery: kind ("true positive", "false positive" or "miss"), class, section that judged it, row
    of the predictions, and the decision."""

    kind: str
    name: str
    section: str
    row: int
    probability: float
    threshold: float
    source: str


def choose(results: Results, *, focal: Sequence[str], count: int) -> list[Choice]:
    """At most `count` images by `RULE`; a finding is said to be there if its probability is above the threshold.

    Args:
      results: as read.
      focal: names of pathologies that come before the others.
      count: of images.
    """
    found: list[Choice] = []
    for section in sorted(results.sections, key="pathology".__eq__):
        report, judged = results.report(section), results.judged(section)
        source = best_source(report)
        for name in _classes(results, section, focal=focal):
            threshold = report["classes"][name]["by_threshold_source"].get(source, {}).get("threshold")
            if threshold is None:
                continue
            column = judged.names.index(name)
            scores, labels = judged.scores[:, column], judged.labels[:, column]
            for kind, row in pick(scores, labels, threshold=threshold).items():
                found.append(Choice(kind, name, section, row, float(scores[row]), float(threshold), source))
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


def _classes(results: Results, section: str, *, focal: Sequence[str]) -> list[str]:
    """The classes of a section that can be shown, in the order of the rule."""
    mapped = results.arrays["map_names"].tolist() if "map_names" in results.arrays else None
    rows = {name: row for name, row in results.report(section)["classes"].items() if row["auroc"] is not None}
    if section == "pathology":
        rows = {n: r for n, r in rows.items() if n not in NORMAL_OBSERVATIONS and (mapped is None or n in mapped)}
    by_count = sorted(rows, key=lambda name: -rows[name]["n_positive"])
    return [name for name in focal if name in rows] + [name for name in by_count if name not in focal]
