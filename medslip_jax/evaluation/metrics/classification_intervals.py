"""Patient-level bootstrap intervals of everything in a `classification_report` but its test-oracle F1.

A resample is a weight for each image (see `intervals`); average precision comes from running sums over the sorted
scores, and what a threshold decides from matrix products, so that nothing loops over resamples and images.
"""

from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np

from medslip_jax.evaluation.metrics.classification import check_scores, given_thresholds
from medslip_jax.evaluation.metrics.intervals import (
    Draw,
    auroc_table,
    bootstrap,
    class_table,
    header,
    n_partial,
    percentile_interval,
    row_means,
    varied_classes,
)

DECIDED = ("f1", "accuracy", "sensitivity", "specificity")


def classification_intervals(
    scores: np.ndarray,
    *,
    labels: np.ndarray,
    names: Sequence[str],
    thresholds: Mapping[str, np.ndarray | float] | None = None,
    **draw: Unpack[Draw],
) -> dict:
    """Percentile intervals of AUROC, average precision and the decisions at given thresholds, by class and macro mean.

    A threshold is taken as it is: the intervals do not tell how it would differ with other validation patients. The
    test-oracle has none here, as its threshold would have to be chosen again in every resample.

    Args:
      scores, labels, names: as for `classification_report` (N x C, -1 = unknown).
      thresholds: as for `classification_report`.
      draw: patients, resamples and seed, see `Draw`.

    Returns:
      {"method", "level", "resamples", "seed", "n_patients", "macro": row with "n_partial", "classes": {name: row}} with
      row {"low", "high", "n_undefined" (of the AUROC), "average_precision": {"low", "high", "n_undefined"},
       "by_threshold_source": {source: {"f1" | "accuracy" | "sensitivity" | "specificity": {"low", "high", ...}}}}.
      n_undefined counts the resamples that had no number (a class with one label value among the drawn patients); the
      interval is that of the others. A resample's macro mean is over the classes defined in it, and n_partial counts
      the resamples that lack a class that the full data have. low and high are null where positives or negatives come
      from fewer than two patients: resampling then cannot vary them.

    Raises:
      InputError: as `classification_report` and `intervals.bootstrap`.
    """
    scores, labels = check_scores(scores, labels=labels, names=names)
    given = given_thresholds(thresholds or {}, names=names)

    def statistic(weights: np.ndarray) -> np.ndarray:
        ranked = [auroc_table(scores, labels, weights), average_precision_table(scores, labels, weights)]
        decided = [decision_table(scores, labels, weights, thresholds=at) for at in given.values()]
        return np.concatenate([np.stack(ranked), *decided]).transpose(1, 0, 2)

    # R x (AUROC, average precision, then the four of each source) x C
    replicates = bootstrap(statistic, n_images=len(scores), **draw)
    both, enough = varied_classes(labels, draw["patients"])

    def row(columns: np.ndarray, *, usable: bool) -> dict:
        means = [row_means(replicates[:, k][:, columns]) for k in range(replicates.shape[1])]
        ends = [percentile_interval(values, usable=usable) for values in means]
        decided = {s: dict(zip(DECIDED, ends[2 + 4 * i : 6 + 4 * i], strict=True)) for i, s in enumerate(given)}
        return ends[0] | {"average_precision": ends[1], "by_threshold_source": decided}

    macro = row(np.flatnonzero(both), usable=bool(enough.any()))
    return {
        **header(**draw),
        "macro": macro | {"n_partial": n_partial(replicates[:, 0, both])},
        "classes": {name: row(np.array([i]), usable=bool(enough[i])) for i, name in enumerate(names)},
    }


def weighted_average_precision(score: np.ndarray, *, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The average precision under many weightings at once: sum over distinct scores of (gain in recall) x precision.

    Equal scores are one step, as in scikit-learn's `average_precision_score(sample_weight=...)`.

    Args:
      score: float N.
      truth: int N in {0, 1}.
      weights: float N x R, not negative.

    Returns:
      float64 R, NaN where the positives weigh nothing.
    """
    order = np.argsort(-score, kind="stable")
    said = np.cumsum(weights[order], axis=0)
    positive = order[truth[order] == 1]
    found = np.cumsum(weights[positive], axis=0)
    # Only steps with a positive gain recall: the last positive of each distinct score, and the last image of it.
    steps = np.flatnonzero(np.diff(score[positive], append=-np.inf))
    ends = len(score) - np.searchsorted(np.sort(score), score[positive[steps]], side="left") - 1
    found, said = found[steps], said[ends]
    gained = np.diff(found, axis=0, prepend=0)
    precision = np.divide(found, said, out=np.zeros_like(found), where=said > 0)
    total = found[-1] if len(found) else np.zeros(weights.shape[1])
    area = np.einsum("nr,nr->r", gained, precision)
    return np.divide(area, total, out=np.full(weights.shape[1], np.nan), where=total > 0)


def average_precision_table(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R x C under weights N x R; NaN where a class has one label value among the drawn, as for the AUROC."""

    def defined(score: np.ndarray, *, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
        found = weighted_average_precision(score, truth=truth, weights=weights)
        return np.where(weights[truth == 0].sum(axis=0) > 0, found, np.nan)

    return class_table(defined, scores, labels, weights)


def decision_table(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, thresholds: np.ndarray
) -> np.ndarray:
    """`DECIDED` of `score > threshold`: 4 x R x C under weights N x R, NaN without a threshold or where one label
    value is not drawn.

    Args:
      thresholds: float C, NaN for none.
    """
    said = scores > thresholds
    positives, negatives = (weights.T @ (labels == value) for value in (1, 0))
    hits, correct = weights.T @ (said & (labels == 1)), weights.T @ (~said & (labels == 0))
    defined = (positives > 0) & (negatives > 0) & ~np.isnan(thresholds)
    false_alarms = negatives - correct
    pairs = (
        (2 * hits, hits + positives + false_alarms),
        (hits + correct, positives + negatives),
        (hits, positives),
        (correct, negatives),
    )
    empty = np.full(positives.shape, np.nan)
    return np.stack([np.divide(up, down, out=empty.copy(), where=defined) for up, down in pairs])
