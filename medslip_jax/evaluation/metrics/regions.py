"""Boxes, masks and attention maps brought to one grid: what a metric needs before it can compare them."""

from collections.abc import Sequence

import cv2
import numpy as np

from medslip_jax.errors import InputError


def box_masks(boxes: Sequence[np.ndarray], *, size: tuple[int, int]) -> np.ndarray:
    """The union of each image's boxes as a mask.

    A pixel belongs to a box if its centre lies in it, left and top edge included. A box that holds no centre
    on one axis takes, on that axis, the pixel its own centre falls into, so that no finding vanishes.

    Size (2, 4) has column centres .125, .375, .625, .875:

    >>> box_masks([[[0.3, 0.0, 0.7, 0.5]], []], size=(2, 4)).astype(int).tolist()
    [[[0, 1, 1, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]]

    Args:
      boxes: B arrays float K_i x 4, (x0, y0, x1, y1) as fractions of width and height; K_i may be 0.
      size: (H, W) of the masks.

    Returns:
      bool B x H x W.

    Raises:
      InputError: a box outside [0, 1] or without area; the image's row is named.
    """
    masks = np.zeros((len(boxes), *size), bool)
    for image, given in enumerate(boxes):
        found = np.asarray(given, np.float64).reshape(-1, 4)
        low, high = found[:, :2], found[:, 2:]
        wrong = ~((low >= 0) & (high <= 1) & (low < high)).all(axis=1)
        if wrong.any():
            number = int(wrong.argmax())
            raise InputError(
                f"box {number} of image {image} is {found[number].tolist()}; give x0 < x1, y0 < y1 as "
                "fractions of the width and height in [0, 1]"
            )
        columns = _span(found[:, 0], found[:, 2], length=size[1])
        rows = _span(found[:, 1], found[:, 3], length=size[0])
        masks[image] = np.einsum("kh,kw->hw", rows, columns)
    return masks


def mask_targets(masks: Sequence[np.ndarray], *, size: tuple[int, int]) -> np.ndarray:
    """Masks of any sizes on one grid: a pixel belongs to a mask if at least half of it does (area average, 128 of 255).

    A mask that would vanish that way takes every pixel it touches, so that no finding does.

    Args:
      masks: B arrays uint8 H_i x W_i, 0 outside and 255 inside.
      size: (H, W) of the result; a mask is squashed to it as its image is.

    Returns:
      bool B x H x W.
    """
    targets = np.zeros((len(masks), *size), bool)
    for mask, out in zip(masks, targets, strict=True):
        # INTER_AREA averages only where it shrinks; elsewhere it is bilinear.
        small = cv2.resize(np.ascontiguousarray(mask, np.uint8), size[::-1], interpolation=cv2.INTER_AREA)
        out[:] = small >= 128 if small.max(initial=0) >= 128 else small > 0
    return targets


def cell_targets(targets: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Masks on a coarser grid: a cell is true if the centre of any true pixel lies in it.

    >>> cell_targets(np.array([[[1, 0, 0, 0], [0, 0, 0, 0]]], bool), size=(1, 2)).tolist()
    [[[True, False]]]

    Args:
      targets: bool B x H x W.
      size: (h, w) with h <= H and w <= W.

    Returns:
      bool B x h x w.
    """
    for axis, length in ((1, size[0]), (2, size[1])):
        # The first pixel whose centre (r + 1/2) / H is at or past the cell's edge i / h.
        starts = np.ceil(np.arange(length) * targets.shape[axis] / length - 0.5).astype(int)
        targets = np.logical_or.reduceat(targets, starts, axis=axis)
    return targets


def upsample(maps: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with half-pixel centres and the border repeated (OpenCV INTER_LINEAR): float32 B x H x W.

    Args:
      maps: float B x h x w.
      size: (H, W).
    """
    maps = np.ascontiguousarray(maps, np.float32)
    large = np.empty((len(maps), *size), np.float32)
    for one, out in zip(maps, large, strict=True):
        cv2.resize(one, size[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    return large


def upsample_strided(maps: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, with cell (i, j) put where a strided network looks: at pixel (i H / h, j W / w).

    Convolutions of stride 2 with symmetric padding centre output i on input 2 i, so a patch grid of stride 16 samples
    pixels 0, 16, 32 ... and not the middles 8, 24, 40 ... of its cells. `upsample`, like the released evaluation, draws
    a map half a cell too far right and down.

    Args:
      maps: float B x h x w.
      size: (H, W).

    Returns:
      float32 B x H x W.
    """
    maps = np.ascontiguousarray(maps, np.float32)
    to_cells = np.array([[maps.shape[2] / size[1], 0, 0], [0, maps.shape[1] / size[0], 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = [cv2.warpAffine(m, to_cells, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE) for m in maps]
    return np.stack(warped) if warped else np.empty((0, *size), np.float32)


# How a map gets the size of an image: as the released evaluation does, or where the network looked.
UPSAMPLINGS = {"cells": upsample, "strided": upsample_strided}


def _span(low: np.ndarray, high: np.ndarray, *, length: int) -> np.ndarray:
    """bool K x length: the pixels of one axis that each interval takes."""
    centres = (np.arange(length) + 0.5) / length
    inside = (centres >= low[..., None]) & (centres < high[..., None])
    middle = np.floor((low + high) / 2 * length)[..., None] == np.arange(length)
    return np.where(inside.any(axis=-1, keepdims=True), inside, middle)
