"""Maps as detectors: boxes around what a map marks, against the true boxes, at several IoU thresholds.

Two readings, not comparable with one another. `localisation_accuracy` asks of each (image, finding) whether its whole
prediction overlaps the whole truth by more than t: the share is a recall, after the localisation accuracy of Wang et
al. ("ChestX-ray8", CVPR 2017), who ask it of boxes. `detection_report` asks it of single boxes: connected components of
the prediction, paired one to one with the true boxes, which gives a precision too.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from medslip_jax.errors import InputError

# Of the CXR14 localisation literature.
IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def localisation_accuracy(iou: np.ndarray, *, thresholds: Sequence[float] = IOU_THRESHOLDS) -> list[float | None]:
    """Share of the cases whose IoU (float N, such as `grounding_reports`') is above each threshold; None for no case.

    >>> localisation_accuracy([0.1, 0.35, 0.6], thresholds=(0.1, 0.5))
    [0.6666666666666666, 0.3333333333333333]
    """
    iou = np.asarray(iou, np.float64)
    if iou.ndim != 1 or not ((iou >= 0) & (iou <= 1)).all():
        raise InputError("IoU values must be a list of numbers in [0, 1]; one of them is not (or is NaN)")
    return [float(np.mean(iou > t)) if len(iou) else None for t in thresholds]


def component_boxes(masks: np.ndarray) -> list[np.ndarray]:
    """The tight box of each connected component (8 neighbours), largest component first.

    Args:
      masks: bool B x H x W.

    Returns:
      B arrays float64 K_i x 4, (x0, y0, x1, y1) as fractions of width and height; K_i is 0 for an empty mask.
    """
    if masks.ndim != 3 or masks.dtype != bool:
        raise InputError(f"masks are {masks.dtype} {masks.shape}; give booleans B x H x W")
    height, width = masks.shape[1:]
    boxes = []
    for mask in masks.astype(np.uint8):
        # Row 0 is the background.
        stats = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:]
        stats = stats[np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable")]
        corners = np.column_stack([stats[:, :2], stats[:, :2] + stats[:, 2:4]])
        boxes.append(corners / np.array([width, height] * 2, np.float64))
    return boxes


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of every box of `first` (K x 4) with every box of `second` (L x 4), float64 K x L; any one unit of length.

    >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 1, 2], [1, 1, 3, 3], [2, 0, 3, 2]])).round(3).tolist()
    [[0.5, 0.143, 0.0]]
    """
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    sides = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(min=0)
    common = sides.prod(axis=-1)
    either = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - common
    return np.divide(common, either, out=np.zeros_like(common), where=either > 0)


def matched_ious(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """IoUs of the pairs of a greedy one-to-one matching, descending, without those that do not overlap.

    The pair with the largest IoU is taken first. What a threshold t would have matched is therefore those above t.

    Args:
      predicted: float K x 4.
      true: float L x 4.
    """
    iou = box_iou(predicted, true)
    pairs = []
    while iou.size and (best := float(iou.max())) > 0:
        row, column = np.unravel_index(int(iou.argmax()), iou.shape)
        pairs.append(best)
        iou[row], iou[:, column] = 0, 0
    return np.array(pairs)


def detection_report(
    predicted: Sequence[np.ndarray], *, true: Sequence[np.ndarray], thresholds: Sequence[float] = IOU_THRESHOLDS
) -> list[dict]:
    """Precision, recall and F1 of boxes, counted over all images together, at each IoU threshold.

    Args:
      predicted: B arrays K_i x 4, such as `component_boxes` gives.
      true: B arrays L_i x 4. Where only images with the finding are judged (SPEC 7), precision knows no false alarm
        on other images.
      thresholds: a pair counts if its IoU is above.

    Returns:
      For each threshold {"iou_above", "n_predicted", "n_true", "true_positives", "precision", "recall", "f1"};
      precision is null if nothing is predicted, recall if nothing is true, F1 if neither.

    Raises:
      InputError: different numbers of images, boxes that are not K x 4, finite and with x0 <= x1, y0 <= y1.
    """
    if len(predicted) != len(true):
        raise InputError(f"predicted boxes of {len(predicted)} images, true ones of {len(true)}; give one array each")
    predicted, true = (_boxes(boxes, name=name) for boxes, name in ((predicted, "predicted"), (true, "true")))
    pairs = [matched_ious(p, t) for p, t in zip(predicted, true, strict=True)]
    matched = np.concatenate([*pairs, np.zeros(0)])
    n_predicted, n_true = (sum(map(len, boxes)) for boxes in (predicted, true))
    return [
        {
            "iou_above": float(threshold),
            "n_predicted": n_predicted,
            "n_true": n_true,
            "true_positives": hits,
            "precision": _share(hits, n_predicted),
            "recall": _share(hits, n_true),
            "f1": _share(2 * hits, n_predicted + n_true),
        }
        for threshold, hits in ((t, int((matched > t).sum())) for t in thresholds)
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _boxes(boxes: Sequence[np.ndarray], *, name: str) -> list[np.ndarray]:
    arrays = [np.asarray(one, np.float64) for one in boxes]
    for image, one in enumerate(arrays):
        shaped = one.ndim == 2 and one.shape[1] == 4
        if not shaped or not np.isfinite(one).all() or not (one[:, :2] <= one[:, 2:]).all():
            raise InputError(f"{name} boxes of image {image} are {one.tolist()}; give K x 4 with x0 <= x1, y0 <= y1")
    return arrays
