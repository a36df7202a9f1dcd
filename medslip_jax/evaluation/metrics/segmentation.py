"""Segmentation numbers, each under its own name: they are not comparable with one another (SPEC 7)."""

from typing import Unpack

import numpy as np

from medslip_jax.evaluation.metrics.intervals import (
    Draw,
    bootstrap,
    mean_or_none,
    percentile_interval,
    several,
)


def overlap_report(*, intersection: np.ndarray, said: np.ndarray, true: np.ndarray, threshold: float = 0.5) -> dict:
    """Dice in four readings and the smoothed IoU, from areas in pixels.

    With I and S the intersection and the sum of both areas, an image's Dice is 2 I / S if its true mask has a pixel,
    else 1 for an empty prediction and 0 otherwise.

    >>> areas = {"intersection": np.array([1]), "said": np.array([2]), "true": np.array([1])}
    >>> round(overlap_report(**areas)["dice_all"], 3)
    0.667

    Args:
      intersection, said, true: int B each, of what both masks cover, of the prediction and of the truth.
      threshold: of the probability, above which a pixel is predicted; for the record.

    Returns:
      {"threshold", "dice_all" (every image), "dice_positive" (images with a true mask), "dice_negative"
      (images without, i.e. the share left empty), "dice_pooled": 2 I / S of all images' pixels taken together, which
      neither empty masks nor masks laid over everything make high; "n_positive", "n_negative", "iou": mean of
      (I + 1) / (S - I + 1), "per_image": {"dice", "iou"}, a list each in the order given, for
      `intervals.mean_intervals`}. A mean over no image is null.
    """
    total, positive = said + true, true > 0
    dice = np.where(positive, 2 * intersection / np.maximum(total, 1), total == 0)
    iou = (intersection + 1) / (total - intersection + 1)
    return {
        "threshold": threshold,
        "dice_all": mean_or_none(dice),
        "dice_positive": mean_or_none(dice[positive]),
        "dice_negative": mean_or_none(dice[~positive]),
        "dice_pooled": float(2 * intersection.sum() / total.sum()) if total.sum() else None,
        "n_positive": int(positive.sum()),
        "n_negative": int((~positive).sum()),
        "iou": mean_or_none(iou),
        "per_image": {"dice": dice.tolist(), "iou": iou.tolist()},
    }


def pooled_dice_interval(*, intersection: np.ndarray, said: np.ndarray, true: np.ndarray, **draw: Unpack[Draw]) -> dict:
    """Percentile interval of "dice_pooled" over patients, from areas as of `overlap_report`; see `Draw`."""
    total = np.asarray(said + true, np.float64)

    def pooled(weights: np.ndarray) -> np.ndarray:
        below = weights.T @ total
        return np.divide(2 * (weights.T @ intersection), below, out=np.full(len(below), np.nan), where=below > 0)

    replicates = bootstrap(pooled, n_images=len(total), **draw)
    return percentile_interval(replicates, usable=several(draw["patients"]))
