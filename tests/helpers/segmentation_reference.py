"""Segmentation numbers from whole masks in NumPy: what the device's areas and loss have to agree with."""

import numpy as np

from medslip_jax.evaluation.metrics.segmentation import overlap_report


def segmentation_report(probabilities: np.ndarray, *, masks: np.ndarray) -> dict:
    """`overlap_report` of `probability > 0.5` against masks of 0 and 1 in the same shape, B x ..."""
    said, true = (np.asarray(one).reshape(len(masks), -1) for one in (probabilities > 0.5, masks == 1))
    areas = {"intersection": said & true, "said": said, "true": true}
    return overlap_report(**{name: pixels.sum(axis=1) for name, pixels in areas.items()})


def dice_bce(logits: np.ndarray, *, masks: np.ndarray) -> float:
    """The fine-tuning loss: mean BCE with logits + 1 - (2 I + 1) / (S + 1), soft Dice of the whole batch."""
    x, y = np.asarray(logits, np.float64), np.asarray(masks, np.float64)
    bce = np.mean(np.logaddexp(0.0, x) - x * y)
    probability = np.exp(-np.logaddexp(0.0, -x))
    soft = (2 * np.sum(probability * y) + 1) / (probability.sum() + y.sum() + 1)
    return float(bce + 1 - soft)
