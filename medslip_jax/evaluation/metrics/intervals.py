"""Patient-level bootstrap intervals: images of one patient are not independent, so patients are resampled.

Percentile intervals of the cluster bootstrap (Davison and Hinkley, Bootstrap Methods and their Application,
1997, section 3.8 and chapter 5). A resample is never copied out: it is a weight for each image (how often its
patient was drawn), and each statistic is computed for a block of weight vectors at once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Required, TypedDict, Unpack

import numpy as np

from medslip_jax.errors import InputError

# Resamples handled together: 5,000 images x 128 weights are 5 MB, about what a CPU core's cache holds.
_BLOCK = 128
LEVEL = 0.95
Patients = Sequence | np.ndarray


class Draw(TypedDict, total=False):
    """What is resampled: N `patients`, of whom images with the same one are drawn together, 1000 times, from seed 0."""

    patients: Required[Patients]
    resamples: int
    seed: int


def mean_intervals(values: Mapping[Any, np.ndarray], **draw: Unpack[Draw]) -> dict:
    """Percentile intervals of the mean of per-image numbers, such as hits, IoU and Dice of a grounding result.

    Args:
      values: {name: float N}; NaN leaves an image out.
      draw: patients, resamples and seed, see `Draw`.

    Returns:
      {"method", "level", "resamples", "seed", "n_patients", "means": {name: as of `percentile_interval`}}; low and high
      are null where the numbers come from fewer than two patients.

    Raises:
      InputError: as `bootstrap`.
    """
    table = np.stack([np.asarray(column, np.float64) for column in values.values()], axis=1)
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)

    def weighted_means(weights: np.ndarray) -> np.ndarray:
        total = weights.T @ known
        return np.divide(weights.T @ filled, total, out=np.full(total.shape, np.nan), where=total > 0)

    replicates = bootstrap(weighted_means, n_images=len(table), **draw)
    patients = np.asarray(draw["patients"])
    usable = [several(patients[column]) for column in known.T]
    means = {name: percentile_interval(replicates[:, i], usable=usable[i]) for i, name in enumerate(values)}
    return {**header(**draw), "means": means}


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    n_images: int,
    patients: Patients,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Replicates of any weighted statistic: float resamples x (the statistic's own shape).

    Args:
      statistic: takes float64 weights N x r (column = resample, entry = times the image was drawn), returns
        r x ..., NaN where a resample leaves it undefined.

    Raises:
      InputError: patients of another length, resamples < 1.
    """
    patient = np.unique(np.asarray(patients), return_inverse=True)[1]
    if patient.shape != (n_images,):
        raise InputError(f"{len(patients)} patient identifiers for {n_images} images; give one for each image")
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; give at least 1 (1000 is usual)")
    rng, n_patients = np.random.default_rng(seed), int(patient.max(initial=-1)) + 1
    chance = np.full(n_patients, 1.0 / max(n_patients, 1))
    blocks = []
    for start in range(0, resamples, _BLOCK):
        drawn = rng.multinomial(n_patients, chance, size=min(_BLOCK, resamples - start))
        blocks.append(statistic(drawn.T.astype(np.float64)[patient]))
    return np.concatenate(blocks)


def several(patients: Patients) -> bool:
    """Whether there is more than one patient to draw; resampling one varies nothing."""
    return len(np.unique(np.asarray(patients))) > 1


def percentile_interval(replicates: np.ndarray, *, level: float = LEVEL, usable: bool = True) -> dict:
    """{"low", "high", "n_undefined"} of replicates (float R, NaN = undefined); null if not `usable`.

    >>> percentile_interval(np.array([*range(101), np.nan]), level=0.5)
    {'low': 25.0, 'high': 75.0, 'n_undefined': 1}
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}; give a fraction between 0 and 1, such as 0.95")
    defined = replicates[~np.isnan(replicates)]
    missing = len(replicates) - len(defined)
    if not usable or not len(defined):
        return {"low": None, "high": None, "n_undefined": missing}
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high), "n_undefined": missing}


def ends(interval: Mapping) -> dict:
    """{"low", "high"} of a `percentile_interval`."""
    return {"low": interval["low"], "high": interval["high"]}


def weighted_auroc(score: np.ndarray, *, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The AUROC under many weightings at once: the weighted share of (positive, negative) pairs in the right order.

    Equal scores count one half (Hanley and McNeil, Radiology 143, 1982); the same as scikit-learn's
    `roc_auc_score(sample_weight=...)` for each column.

    Of the pairs (0.9, 0.8) and (0.3, 0.8), one is in the right order; counting the first positive three times:

    >>> weights = np.array([[1, 3], [1, 1], [1, 1]])
    >>> weighted_auroc(np.array([0.9, 0.8, 0.3]), truth=np.array([1, 0, 1]), weights=weights).tolist()
    [0.5, 0.75]

    Args:
      score: float N.
      truth: int N in {0, 1}.
      weights: float N x R, not negative.

    Returns:
      float64 R, NaN where the positives or the negatives weigh nothing.
    """
    positive = truth == 1
    # The smaller group is looked up in the running sums of the larger: one pass over each, whatever the order.
    few, many = (positive, ~positive) if 2 * positive.sum() <= len(truth) else (~positive, positive)
    order = np.flatnonzero(many)[np.argsort(score[many])]
    below = np.zeros((len(order) + 1, weights.shape[1]))
    np.cumsum(weights[order], axis=0, out=below[1:])
    left = np.searchsorted(score[order], score[few], side="left")
    right = np.searchsorted(score[order], score[few], side="right")
    few_weights = weights[few]
    ordered = 0.5 * np.einsum("nr,nr->r", few_weights, below[left] + below[right])
    pairs = few_weights.sum(axis=0) * below[-1]
    share = np.divide(ordered, pairs, out=np.full(weights.shape[1], np.nan), where=pairs > 0)
    return share if few is positive else 1.0 - share


def mean_or_none(values: Sequence | np.ndarray) -> float | None:
    """The mean, None of nothing, which JSON has a null for."""
    return float(np.mean(values)) if len(values) else None


def row_means(table: np.ndarray) -> np.ndarray:
    """Means of the rows over what is not NaN: float64 R; NaN where a row has nothing."""
    known = (~np.isnan(table)).sum(axis=1)
    return np.divide(np.nansum(table, axis=1), known, out=np.full(len(table), np.nan), where=known > 0)


def auroc_table(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The AUROC of each class under each weighting (N x R): R x C, NaN where it is not defined."""
    return class_table(weighted_auroc, scores, labels, weights)


def class_table(statistic: Callable, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R x C of a statistic like `weighted_auroc`, of each class on the images where it is known."""
    table = np.empty((weights.shape[1], labels.shape[1]))
    for column in range(labels.shape[1]):
        known = labels[:, column] >= 0
        inside = weights if known.all() else weights[known]
        table[:, column] = statistic(scores[known, column], truth=labels[known, column], weights=inside)
    return table


def varied_classes(labels: np.ndarray, patients: Patients) -> tuple[np.ndarray, np.ndarray]:
    """(both, enough), bool C each, of labels int N x C: which classes have an AUROC, as positives and negatives are
    there, and which of these AUROCs resampling the N patients can vary, as each of them are of at least two."""
    of = np.asarray(patients)
    numbers = [[len(np.unique(of[column == value])) for value in (0, 1)] for column in labels.T]
    least = np.array(numbers, int).reshape(-1, 2).min(axis=1)
    return least > 0, least > 1


def n_partial(table: np.ndarray) -> int:
    """How many rows (resamples) of R x C lack some of the columns, but not all."""
    defined = (~np.isnan(table)).sum(axis=1)
    return int(np.sum((defined > 0) & (defined < table.shape[1])))


def header(*, patients: Patients, resamples: int = 1000, seed: int = 0) -> dict:
    """What every result with intervals says of them."""
    return {
        "method": "patient-level bootstrap, percentile",
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "n_patients": len(np.unique(np.asarray(patients))),
    }
