"""Two results on the same images: differences under a paired patient-level bootstrap, and what p-values need."""

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification import check_scores, classification_report
from medslip_jax.evaluation.metrics.classification_intervals import average_precision_table
from medslip_jax.evaluation.metrics.intervals import (
    LEVEL,
    Draw,
    auroc_table,
    bootstrap,
    percentile_interval,
    row_means,
    several,
    varied_classes,
)

_TABLES: Mapping[str, Callable] = {"auroc": auroc_table, "average_precision": average_precision_table}


def paired_classification(
    a: np.ndarray,
    b: np.ndarray,
    *,
    labels: np.ndarray,
    names: Sequence[str],
    **draw: Unpack[Draw],
) -> dict:
    """AUROC and average precision of two sets of scores, and their difference b - a, each resample drawn once for both.

    What the two models have in common, hard images and easy ones, is in both numbers of a resample and leaves the
    difference: intervals of it are narrower than those of the two results suggest.

    Args:
      a, b: float N x C scores of the same images.
      labels, names: as for `classification_report`.
      draw: patients, resamples and seed, see `Draw`.

    Returns:
      {"macro": {"auroc": row, "average_precision": row, "n_defined"}, "classes": {name: {"auroc": row, ...}}} with row
      {"a", "b", "difference", "low", "high", "p", "n_undefined"}, in classes also "p_holm"; null where it is undefined.
      The macro mean is over the defined classes, p is `two_sided_p`, p_holm adjusts it for the number of classes.

    Raises:
      InputError: as `classification_report` and `intervals.bootstrap`.
    """
    a, labels = check_scores(a, labels=labels, names=names)
    b, _ = check_scores(b, labels=labels, names=names)
    reports = [classification_report(scores, labels=labels, names=names) for scores in (a, b)]

    def statistic(weights: np.ndarray) -> np.ndarray:
        rows = [table(b, labels, weights) - table(a, labels, weights) for table in _TABLES.values()]
        return np.stack(rows, axis=1)

    replicates = bootstrap(statistic, n_images=len(a), **draw)
    both, enough = varied_classes(labels, draw["patients"])
    macro: dict = {"n_defined": int(both.sum())}
    classes: dict[str, dict] = {name: {} for name in names}
    for k, metric in enumerate(_TABLES):
        values = [report["macro"][metric] for report in reports]
        means = row_means(replicates[:, k][:, both])
        macro[metric] = difference_row(*values, replicates=means, usable=bool(enough.any()))
        for i, name in enumerate(names):
            values = [report["classes"][name][metric] for report in reports]
            row = difference_row(*values, replicates=replicates[:, k, i], usable=bool(enough[i]))
            classes[name][metric] = row
        adjusted = holm([classes[name][metric]["p"] for name in names])
        for name, p in zip(names, adjusted, strict=True):
            classes[name][metric]["p_holm"] = p
    return {"macro": macro, "classes": classes}


def paired_means(a: np.ndarray, b: np.ndarray, **draw: Unpack[Draw]) -> dict:
    """The row of `paired_classification` for the mean of per-case numbers, such as hits of the pointing game.

    Args:
      a, b: float N, finite, of the same cases.
      draw: patients, resamples and seed, see `Draw`.

    Raises:
      InputError: no case, other numbers of cases, a value that is not finite; as `intervals.bootstrap`.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a) or not np.isfinite(a + b).all():
        raise InputError(f"cases {a.shape} and {b.shape}: give two lists of one finite number a case, at least one")
    difference = b - a

    def statistic(weights: np.ndarray) -> np.ndarray:
        return difference @ weights / weights.sum(axis=0)

    replicates = bootstrap(statistic, n_images=len(difference), **draw)
    return difference_row(float(a.mean()), float(b.mean()), replicates=replicates, usable=several(draw["patients"]))


def difference_row(
    a: float | None, b: float | None, *, replicates: np.ndarray, level: float = LEVEL, usable: bool = True
) -> dict:
    """{"a", "b", "difference": b - a, "low", "high", "p", "n_undefined"}; `replicates` are of the difference."""
    difference = None if a is None or b is None else b - a
    interval = percentile_interval(replicates, level=level, usable=usable)
    p = two_sided_p(replicates) if usable and difference is not None else None
    return {"a": a, "b": b, "difference": difference, **interval, "p": p}


def two_sided_p(replicates: np.ndarray) -> float | None:
    """The bootstrap p-value of "no difference", from replicates d_1 .. d_R of the difference.

    p = min(1, 2 min(1 + #{d <= 0}, 1 + #{d >= 0}) / (R + 1)): the level at which the percentile interval begins to
    hold 0, with the actual data counted as one more replicate (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 4.2), so that it is never below 2 / (R + 1). NaN replicates are left out; None if all
    are. Differences below 1e-12 are rounding and count as 0.

    >>> two_sided_p(np.array([0.1, 0.2, 0.3])), two_sided_p(np.array([-0.1, 0.2, 0.3])), two_sided_p(np.zeros(9))
    (0.5, 1.0, 1.0)
    """
    defined = np.round(replicates[~np.isnan(replicates)], 12)
    if not len(defined):
        return None
    tail = min(np.sum(defined <= 0), np.sum(defined >= 0))
    return float(min(1.0, 2 * (1 + tail) / (len(defined) + 1)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 6, 1979); None stays and is no test.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    tests = sorted((p, i) for i, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, i) in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - rank) * p))
        adjusted[i] = highest
    return adjusted
