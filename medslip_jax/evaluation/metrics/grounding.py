"""Zero-shot grounding: does the attention for a finding lie where the finding is? (SPEC 7)

Two grids are in play. A map has h x w cells (14 x 14); a target is a mask of H x W pixels (224 x 224). IoU,
Dice and `pointing_pixel` compare the bilinearly upsampled map with the target. `pointing_cell` compares on
the map's own grid, where a cell belongs to the target if any target pixel lies in it: kinder to a finding
smaller than a cell. `chance_*` is how often a random pixel or cell would have hit, and `argmax_cells` how
many cells share the maximum (1 = no ties): no hit rate should be read without them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.intervals import mean_or_none
from medslip_jax.evaluation.metrics.regions import UPSAMPLINGS, cell_targets

# Maps upsampled together: 256 x 224 x 224 floats are 51 MB.
_CHUNK = 256


@dataclass(frozen=True)
class Protocol:
    """How a map becomes a binary mask: `map / divisor > threshold`.

    divisor: "image" (the upsampled map's own maximum), "batch" (the maximum over everything passed in one
      call) or "none".
    threshold: in units of the divided map; None where it is chosen or has to be given.
    source: where the threshold comes from.
    """

    divisor: str
    threshold: float | None
    source: str


PROTOCOLS: Mapping[str, Protocol] = {
    "per-image": Protocol(divisor="image", threshold=0.5, source="fixed"),
    "released": Protocol(divisor="batch", threshold=0.01, source="fixed"),
    "fixed-0.008-raw": Protocol(divisor="none", threshold=0.008, source="fixed"),
    "best-dice-test-oracle": Protocol(divisor="image", threshold=None, source="test-oracle"),
    "best-dice-validation": Protocol(divisor="image", threshold=None, source="validation"),
}
_OWN_THRESHOLD = ("per-image", "released", "best-dice-validation")
_CANDIDATES = np.linspace(0.0, 0.99, 100)


def grounding_reports(
    maps: np.ndarray,
    *,
    targets: np.ndarray,
    protocols: Sequence[tuple[str, float | None]],
    upsampling: str = "cells",
) -> list[dict]:
    """Pointing game, IoU and Dice of a set of maps under named protocols; each map is upsampled once for all.

    Args:
      maps: float B x h x w, finite, not negative (attention, or pathology times mean anatomy attention).
      targets: bool B x H x W, H >= h, W >= w (`regions.box_masks`, `regions.mask_targets`). An image with an empty
        target is left out and counted.
      protocols: (key of `PROTOCOLS`, threshold or None) each. A threshold replaces 0.5 of "per-image" and 0.01 of
        "released" (also run at 0); "best-dice-validation" needs one: what "best-dice-test-oracle" reports as
        "threshold" on the validation split. "released" divides by the maximum of the whole call, so its IoU and Dice
        depend on which images are passed together; pass the released script's batches to repeat it.
      upsampling: a key of `regions.UPSAMPLINGS`.

    Returns:
      For each protocol {"protocol", "threshold", "threshold_source", "n_images" (used), "n_without_target", then means
      over the images, null if there is none: "pointing_pixel", "pointing_cell", "iou", "dice", "chance_pixel",
      "chance_cell", "argmax_cells"; and "per_image": {"index" (row in `maps`), "pointing_pixel",
      "pointing_cell", "iou", "dice": one entry for each image used}}. All JSON-able.

    Raises:
      InputError: shapes that disagree, NaN or negative maps, unknown protocol or upsampling, missing or misplaced
        threshold.
    """
    maps, targets = _check_maps(maps, targets)
    if upsampling not in UPSAMPLINGS:
        raise InputError(f"unknown upsampling {upsampling!r}; use one of {', '.join(UPSAMPLINGS)}")
    plans = [(PROTOCOLS[name].divisor, grid) for name, grid in ((p, _thresholds(p, given=t)) for p, t in protocols)]
    index = np.flatnonzero(targets.any(axis=(1, 2)))
    n_without = len(maps) - len(index)
    maps, targets = maps[index], targets[index]
    cells = cell_targets(targets, size=maps.shape[1:])
    found = hits_and_curves(maps, targets=targets, plans=plans, upsampling=upsampling)
    pointing = {"pointing_pixel": found["hits"], "pointing_cell": pointing_hits(maps, targets=cells)}
    shared = {
        "chance_pixel": mean_or_none(targets.mean(axis=(1, 2))),
        "chance_cell": mean_or_none(cells.mean(axis=(1, 2))),
        "argmax_cells": mean_or_none((maps == _maxima(maps)).sum(axis=(1, 2))),
    }
    reports = []
    for (protocol, _), (_, grid), curves in zip(protocols, plans, found["curves"], strict=True):
        best = int(np.argmax(curves["dice"].mean(axis=0))) if len(index) else 0
        by_image = pointing | {"iou": curves["iou"][:, best], "dice": curves["dice"][:, best]}
        reports.append(
            {
                "protocol": protocol,
                "threshold": float(grid[best]) if len(index) or len(grid) == 1 else None,
                "threshold_source": PROTOCOLS[protocol].source,
                "n_images": len(index),
                "n_without_target": n_without,
                **{name: mean_or_none(values) for name, values in by_image.items()},
                **shared,
                "per_image": {"index": index.tolist()} | {name: values.tolist() for name, values in by_image.items()},
            }
        )
    return reports


def pointing_hits(maps: np.ndarray, *, targets: np.ndarray) -> np.ndarray:
    """bool B: a cell that holds the map's maximum is in the target; one hit among tied cells is enough.

    A constant map therefore hits any target, which is why `grounding_reports` counts the ties.

    >>> maps = np.array([[[0.1, 0.7, 0.2]], [[0.5, 0.3, 0.2]], [[0.3, 0.3, 0.3]]])
    >>> pointing_hits(maps, targets=np.array([[[False, True, False]]] * 3)).tolist()
    [True, False, True]

    Args:
      maps: float B x h x w.
      targets: bool B x h x w, on the same grid.
    """
    return ((maps == _maxima(maps)) & targets).any(axis=(1, 2))


def binary_maps(maps: np.ndarray, *, size: tuple[int, int], upsampling: str = "cells") -> np.ndarray:
    """bool B x H x W: `upsampled map / its own maximum > 0.5`, the prediction of the "per-image" protocol."""
    large = UPSAMPLINGS[upsampling](maps, size=size)
    return _divide(large, by=_maxima(large)) > np.float32(PROTOCOLS["per-image"].threshold)


def hits_and_curves(
    maps: np.ndarray, *, targets: np.ndarray, plans: Sequence[tuple[str, np.ndarray]], upsampling: str
) -> dict:
    """{"hits": bool B, whether an arg-max pixel is in the target; "curves": for each plan {"iou", "dice"}, B x T each}.

    IoU and Dice of `upsampled map / divisor > threshold`, compared in float32, are 0 where prediction and target are
    empty.

    Args:
      maps: float B x h x w, not negative.
      targets: bool B x H x W.
      plans: (divisor as of `Protocol`, float T ascending thresholds) each.
      upsampling: a key of `regions.UPSAMPLINGS`.
    """
    resize, size = UPSAMPLINGS[upsampling], targets.shape[1:]
    grids = [np.asarray(grid, np.float32) for _, grid in plans]
    one = top = np.float32(1.0)
    if any(divisor == "batch" for divisor, _ in plans):
        top = max((resize(maps[rows], size=size).max() for rows in _chunks(len(maps))), default=one)
    hits = np.zeros(len(maps), bool)
    said, common = ([np.zeros((len(maps), len(grid))) for grid in grids] for _ in range(2))
    for rows in _chunks(len(maps)):
        large, truth = resize(maps[rows], size=size), targets[rows]
        hits[rows] = pointing_hits(large, targets=truth)
        by: dict[str, np.ndarray | np.float32] = {"image": _maxima(large), "batch": top, "none": one}
        scaled = {divisor: _divide(large, by=by[divisor]) for divisor in {divisor for divisor, _ in plans}}
        for number, ((divisor, _), grid) in enumerate(zip(plans, grids, strict=True)):
            said[number][rows], common[number][rows] = _areas(scaled[divisor], truth, grid)
    true = targets.sum(axis=(1, 2))[:, None]
    return {"hits": hits, "curves": [_overlaps(s, c, true) for s, c in zip(said, common, strict=True)]}


def _overlaps(said: np.ndarray, common: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    total = said + true
    return {"iou": common / np.maximum(total - common, 1), "dice": 2 * common / np.maximum(total, 1)}


def _areas(maps: np.ndarray, targets: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels above each threshold, and those of them in the target, each B x T."""
    if len(grid) == 1:
        above = maps > grid
        return above.sum(axis=(1, 2))[:, None], (above & targets).sum(axis=(1, 2))[:, None]
    # A histogram of how many thresholds a pixel exceeds serves all of them.
    level = np.searchsorted(grid, maps, side="left").astype(np.uint16)
    masks = targets.astype(np.uint8)
    return _exceeding(level, [None] * len(level), n=len(grid)), _exceeding(level, masks, n=len(grid))


def _exceeding(level: np.ndarray, masks: np.ndarray | Sequence[None], *, n: int) -> np.ndarray:
    """Pixels (of the masks) above each of n thresholds, float64 B x n, from uint16 B x H x W levels in 0 .. n."""
    bins = ([n + 1], [0, n + 1])
    counts = np.array([cv2.calcHist([one], [0], mask, *bins) for one, mask in zip(level, masks, strict=True)])
    return counts.reshape(-1, n + 1).astype(np.float64)[:, :0:-1].cumsum(axis=1)[:, ::-1]


def _divide(maps: np.ndarray, *, by: np.ndarray | np.float32) -> np.ndarray:
    # A map of zeros stays zero: it points nowhere, which is an empty prediction and not an error.
    return np.divide(maps, np.where(by > 0, by, np.float32(1.0)))


def _maxima(maps: np.ndarray) -> np.ndarray:
    return maps.max(axis=(1, 2), keepdims=True)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, n, _CHUNK))


def _check_maps(maps: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    maps, targets = np.asarray(maps, np.float32), np.asarray(targets)
    shapes_fit = maps.ndim == targets.ndim == 3 and len(maps) == len(targets)
    if not shapes_fit or targets.shape[1] < maps.shape[1] or targets.shape[2] < maps.shape[2]:
        raise InputError(
            f"maps {maps.shape} and targets {targets.shape} disagree; give B x h x w and B x H x W with H >= h, W >= w"
        )
    if targets.dtype != bool:
        raise InputError(f"targets are {targets.dtype}; give booleans (mask > 0, or metrics.regions.box_masks)")
    bad = ~(np.isfinite(maps) & (maps >= 0)).all(axis=(1, 2))
    if bad.any():
        raise InputError(
            f"the attention map of image {int(np.argmax(bad))} holds NaN, infinite or negative values "
            f"({bad.sum()} such images); check the checkpoint and the input image"
        )
    return maps, targets


def _thresholds(protocol: str, *, given: float | None) -> np.ndarray:
    """The thresholds to try: one, or all candidates where the best is to be found."""
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown grounding protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}")
    if given is not None and protocol not in _OWN_THRESHOLD:
        raise InputError(f"protocol {protocol!r} fixes its own threshold; leave threshold out or choose 'per-image'")
    if given is None and protocol == "best-dice-validation":
        raise InputError("protocol 'best-dice-validation' needs threshold=, found on the validation split")
    threshold = PROTOCOLS[protocol].threshold if given is None else given
    return _CANDIDATES if threshold is None else np.array([threshold], np.float64)
