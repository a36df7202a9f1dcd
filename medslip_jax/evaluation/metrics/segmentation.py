"""Segmentation numbers, each under its own name: they are not comparable with one another (SPEC 7)."""

from collections.abc import Sequence

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.intervals import bootstrap, percentile_interval


def segmentation_report(probabilities: np.ndarray, *, masks: np.ndarray, threshold: float = 0.5) -> dict:
    """Dice in three readings and the smoothed IoU of `probability > threshold`, averaged over images.

    With I and S the intersection and the sum of both areas in pixels, an image's Dice is 2 I / S if its true
    mask has a pixel, else 1 for an empty prediction and 0 otherwise.

    >>> said, true = np.array([[[0.9, 0.8, 0.1, 0.2]]]), np.array([[[1, 0, 0, 0]]])
    >>> round(segmentation_report(said, masks=true)["dice_all"], 3)
    0.667

    Args:
      probabilities: float B x ... (B x H x W or B x 1 x H x W), in [0, 1].
      masks: the same shape, 0 or 1 (bool, int or float).
      threshold: probability, strict.

    Returns:
      {"threshold", "dice_all" (every image), "dice_positive" (images with a true mask), "dice_negative"
      (images without, i.e. the share left empty), "dice_pooled": 2 I / S of all images' pixels taken together, which
      neither empty masks nor masks laid over everything make high; "n_positive", "n_negative", "iou": mean of
      (I + 1) / (S - I + 1), "per_image": {"dice", "iou"}, a list each in the order given, for
      `intervals.mean_intervals`}. A mean over no image is null.

    Raises:
      InputError: no images, shapes that disagree, probabilities outside [0, 1] or NaN, masks other than 0 and
        1.
    """
    return overlap_report(**_areas(*_flat(probabilities, masks), threshold=threshold), threshold=threshold)


def overlap_report(*, intersection: np.ndarray, said: np.ndarray, true: np.ndarray, threshold: float = 0.5) -> dict:
    """`segmentation_report` from areas in pixels, int B each: what both masks cover, the prediction, the truth."""
    total, positive = said + true, true > 0
    dice = np.where(positive, 2 * intersection / np.maximum(total, 1), total == 0)
    iou = (intersection + 1) / (total - intersection + 1)
    return {
        "threshold": threshold,
        "dice_all": _mean(dice),
        "dice_positive": _mean(dice[positive]),
        "dice_negative": _mean(dice[~positive]),
        "dice_pooled": float(2 * intersection.sum() / total.sum()) if total.sum() else None,
        "n_positive": int(positive.sum()),
        "n_negative": int((~positive).sum()),
        "iou": _mean(iou),
        "per_image": {"dice": dice.tolist(), "iou": iou.tolist()},
    }


def pooled_dice_interval(
    *,
    intersection: np.ndarray,
    said: np.ndarray,
    true: np.ndarray,
    patients: Sequence,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict:
    """Percentile interval of "dice_pooled" over patients, from areas as of `overlap_report`."""
    total = np.asarray(said + true, np.float64)

    def pooled(weights: np.ndarray) -> np.ndarray:
        below = weights.T @ total
        return np.divide(2 * (weights.T @ intersection), below, out=np.full(len(below), np.nan), where=below > 0)

    replicates = bootstrap(pooled, n_images=len(total), patients=patients, resamples=resamples, seed=seed)
    return percentile_interval(replicates, level=level, usable=len(np.unique(np.asarray(patients))) > 1)


def dice_bce(logits: np.ndarray, *, masks: np.ndarray) -> float:
    """The fine-tuning loss in numpy: mean BCE with logits + 1 - (2 I + 1) / (S + 1), soft Dice of the whole
    batch.

    Args:
      logits: float B x ..., before the sigmoid.
      masks: the same shape, 0 or 1.
    """
    x, y = np.asarray(logits, np.float64), np.asarray(masks, np.float64)
    if x.shape != y.shape:
        raise InputError(f"logits {x.shape} and masks {y.shape} disagree; give one mask pixel for each logit")
    bce = np.mean(np.logaddexp(0.0, x) - x * y)
    probability = np.exp(-np.logaddexp(0.0, -x))
    soft = (2 * np.sum(probability * y) + 1) / (probability.sum() + y.sum() + 1)
    return float(bce + 1 - soft)


def _flat(probabilities: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, masks = np.asarray(probabilities), np.asarray(masks)
    if probabilities.shape != masks.shape or probabilities.ndim < 2:
        raise InputError(
            f"probabilities {probabilities.shape} and masks {masks.shape} disagree; resize one to the other's pixels"
        )
    if not len(masks):
        raise InputError("there are no images to evaluate; check the split's name and size")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise InputError("segmentation probabilities must lie in [0, 1] (and not be NaN); apply the sigmoid first")
    if not np.isin(masks, (0, 1)).all():
        raise InputError("segmentation masks must hold 0 and 1 only; binarise them (0/255 PNG: > 127) first")
    return probabilities.reshape(len(masks), -1), masks.reshape(len(masks), -1) == 1


def _areas(probabilities: np.ndarray, masks: np.ndarray, *, threshold: float) -> dict[str, np.ndarray]:
    said = probabilities > threshold
    return {"intersection": (said & masks).sum(axis=1), "said": said.sum(axis=1), "true": masks.sum(axis=1)}


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
