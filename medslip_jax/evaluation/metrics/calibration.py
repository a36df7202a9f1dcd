"""Calibration: is a finding there as often as the probability says? Expected calibration error by equal-width bins."""

from collections.abc import Mapping, Sequence

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification import check_scores
from medslip_jax.evaluation.metrics.intervals import bootstrap, ends, percentile_interval, row_means, several


def calibration_report(
    scores: np.ndarray,
    *,
    labels: np.ndarray,
    names: Sequence[str],
    bins: int = 10,
    patients: Sequence | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict:
    """Expected calibration error (ECE) of each class's probability of presence, and what a reliability diagram shows.

    Bin k of B holds the scores in [k / B, (k + 1) / B), the last one 1 as well. With n_k of the n images that have a
    label in it, ECE = sum_k n_k / n |mean score in k - share of positives in k|: Guo et al., "On Calibration of Modern
    Neural Networks" (ICML 2017), equation 3, with the probability of presence in place of a confidence, as each class
    is a question of its own. The estimate is biased upwards, the more the fewer images a bin has, and a resample's
    more so: an interval shows the spread over patients and may lie above a small estimate.

    Args:
      scores: float N x C, probabilities.
      labels: int N x C, 1 present, 0 absent, -1 unknown (left out for that class only).
      names: C distinct class names.
      bins: B.
      patients: N identifiers for patient-level bootstrap intervals, or None for none.
      resamples, seed: of the bootstrap.

    Returns:
      {"bins": B, "binning": "equal-width", "macro": {"ece"[, "low", "high"]}, "classes": {name: {"ece", "n"[, "low",
      "high"], "bins": [{"low", "high", "n", "mean_score", "fraction_positive"}, ...]}}}, null for a class without
      labels and in an empty bin. "macro" is the mean over the classes with labels, whether of one value or two.

    Raises:
      InputError: as `classification_report`; a score outside of [0, 1], fewer than one bin.
    """
    scores, labels = check_scores(scores, labels=labels, names=names)
    _check(scores, names=names, bins=bins)
    cell = np.minimum((scores * bins).astype(int), bins - 1)
    classes = {name: _class(scores[:, i], labels[:, i], cell[:, i], bins=bins) for i, name in enumerate(names)}
    known = [row["ece"] for row in classes.values() if row["ece"] is not None]
    macro = {"ece": float(np.mean(known)) if known else None}
    if patients is not None:
        replicates = bootstrap(
            lambda weights: _eces(scores, labels, cell, weights, bins=bins),
            n_images=len(scores),
            patients=patients,
            resamples=resamples,
            seed=seed,
        )
        for i, row in enumerate(classes.values()):
            usable = several(np.asarray(patients)[labels[:, i] >= 0])
            row |= ends(percentile_interval(replicates[:, i], usable=usable))
        counted = (labels >= 0).any(axis=0)
        means = row_means(replicates[:, counted])
        macro |= ends(percentile_interval(means, usable=bool(counted.any()) and several(patients)))
    return {"bins": bins, "binning": "equal-width", "macro": macro, "classes": classes}


def pooled_bins(tables: Sequence[Sequence[Mapping]]) -> list[dict]:
    """The "bins" of several classes as those of one, by their edges; empty ones stay.

    >>> a = {"low": 0.0, "high": 0.5, "n": 1, "mean_score": 0.2, "fraction_positive": 0.0}
    >>> b = {"low": 0.0, "high": 0.5, "n": 3, "mean_score": 0.4, "fraction_positive": 1.0}
    >>> pooled_bins([[a], [b]])[0]["fraction_positive"]
    0.75
    """
    sums: dict[tuple[float, float], np.ndarray] = {}
    for one in (row for rows in tables for row in rows):
        shares = [one["mean_score"], one["fraction_positive"]] if one["n"] else [0.0, 0.0]
        key = (one["low"], one["high"])
        sums[key] = sums.get(key, np.zeros(3)) + one["n"] * np.array([1.0, *shares])
    return [_bin(*edges, *inside) for edges, inside in sorted(sums.items())]


def agreement(predicted: np.ndarray, true: np.ndarray) -> dict[str, float | None]:
    """{"correlation", "difference"} of two lists: Pearson's, None where one of them does not vary; mean absolute."""
    varied = len(predicted) > 1 and predicted.std() > 0 and true.std() > 0
    return {
        "correlation": float(np.corrcoef(predicted, true)[0, 1]) if varied else None,
        "difference": float(np.abs(predicted - true).mean()),
    }


def _check(scores: np.ndarray, *, names: Sequence[str], bins: int) -> None:
    if bins < 1:
        raise InputError(f"bins is {bins}; calibration needs at least one, and 10 are usual")
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise InputError(
            f"class {names[column]!r}: the score of image {row} is {scores[row, column]:g}; calibration is about "
            "probabilities from 0 to 1"
        )


def _class(score: np.ndarray, label: np.ndarray, cell: np.ndarray, *, bins: int) -> dict:
    known = label >= 0
    counts, sums, positives = (
        np.bincount(cell[known], weights=weights, minlength=bins)
        for weights in (None, score[known], (label[known] == 1).astype(float))
    )
    total = int(counts.sum())
    rows = [_bin(k / bins, (k + 1) / bins, counts[k], sums[k], positives[k]) for k in range(bins)]
    return {"ece": float(np.abs(sums - positives).sum() / total) if total else None, "n": total, "bins": rows}


def _bin(low: float, high: float, n: float, score: float, positive: float) -> dict[str, float | None]:
    """A row of "bins" from sums over its images."""
    means = {"mean_score": float(score / n) if n else None, "fraction_positive": float(positive / n) if n else None}
    return {"low": low, "high": high, "n": int(n), **means}


def _eces(scores: np.ndarray, labels: np.ndarray, cell: np.ndarray, weights: np.ndarray, *, bins: int) -> np.ndarray:
    """The ECE of each class under each weighting: R x C. n_k cancels: sum_k |weighted sum of (score - label)| / n."""
    table = np.full((weights.shape[1], labels.shape[1]), np.nan)
    for column in range(labels.shape[1]):
        rows = np.flatnonzero(labels[:, column] >= 0)
        gaps = np.zeros((len(rows), bins))
        gaps[np.arange(len(rows)), cell[rows, column]] = scores[rows, column] - labels[rows, column]
        total = weights[rows].sum(axis=0)
        summed = np.abs(weights[rows].T @ gaps).sum(axis=1)
        np.divide(summed, total, out=table[:, column], where=total > 0)
    return table
