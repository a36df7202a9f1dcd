"""Drawing primitives of the phantom that give the same bytes on every machine.

Three rules make that hold. Random numbers come from PCG64's raw integers and 53-bit fractions, never from C
code that a compiler may fuse (`Generator.uniform`, `normal`). Coordinates see only + - * / and sqrt, which
IEEE 754 rounds exactly. From then on all is integers: polygons in 1/16 pixel, box filters as exact sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike

FIELD_MM = 400.0  # what the image shows, edge to edge
_SHIFT = 4  # polygons are rasterised in 1/16 pixel

# cos and sin of 24 angles, rounded far above the last place where two C libraries may differ.
_ANGLES = 2 * np.pi * np.arange(24) / 24
CIRCLE = np.round(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1) * 4096) / 4096


class Dice:
    """A random stream whose numbers are exact everywhere."""

    def __init__(self, sequence: np.random.SeedSequence):
        self._rng = np.random.Generator(np.random.PCG64(sequence))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._rng.random())

    def uniforms(self, low: float, high: float, count: int) -> np.ndarray:
        return low + (high - low) * self._rng.random(count)

    def integer(self, low: int, high: int) -> int:
        """low .. high, both included."""
        return int(self._rng.integers(low, high, endpoint=True))

    def chance(self, probability: float) -> bool:
        return float(self._rng.random()) < probability

    def pick(self, options: Sequence):
        return options[self.integer(0, len(options) - 1)]

    def shuffled(self, options: Sequence) -> list:
        return [options[i] for i in self._rng.permutation(len(options))]

    def bytes(self, height: int, width: int) -> np.ndarray:
        """Uniform uint8 (height, width)."""
        return self._rng.integers(0, 256, (height, width), np.uint8)


@dataclass(frozen=True)
class Frame:
    """Chest millimetres (origin mid-chest, x to the image's right, y down) to pixels of a square image."""

    size: int
    sine: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Fixed-point pixel coordinates, int32 (n, 2) in 1/16 pixel."""
        cosine = float(np.sqrt(1.0 - self.sine * self.sine))
        x, y = points[:, 0] * self.zoom, points[:, 1] * self.zoom
        turned = np.stack([cosine * x - self.sine * y + self.shift[0], self.sine * x + cosine * y + self.shift[1]], 1)
        return np.rint(((turned / FIELD_MM + 0.5) * self.size - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def length(self, millimetres: float) -> int:
        """The nearest whole number of pixels."""
        return int(millimetres * self.zoom * self.size / FIELD_MM + 0.5)

    def fill(self, *outlines: np.ndarray) -> np.ndarray:
        """Union of closed outlines (n, 2) in mm as uint8 coverage, 0 .. 255."""
        alpha = np.zeros((self.size, self.size), np.uint8)
        for outline in outlines:
            cv2.fillPoly(alpha, [self.pixels(outline)], 255, cv2.LINE_AA, _SHIFT)
        return alpha

    def soften(self, alpha: np.ndarray, radius: float) -> np.ndarray:
        """uint8 blurred by two box filters of `radius` mm: a tent, in exact integer sums."""
        reach = self.length(radius)
        if reach == 0:
            return alpha
        side, area = (2 * reach + 1,) * 2, (2 * reach + 1) ** 2
        fine: np.ndarray = alpha.astype(np.int32) << 6
        for _ in range(2):
            fine = cv2.boxFilter(fine, cv2.CV_32S, side, normalize=False, borderType=cv2.BORDER_REPLICATE) // area
        return (fine >> 6).astype(np.uint8)

    def mottle(self, dice: Dice, cells: int) -> np.ndarray:
        """Smooth random field: uint8, `cells` grains across the image whatever its size."""
        coarse = dice.bytes(cells, cells)
        return cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_LINEAR_EXACT)


def rounded(points: ArrayLike, *, times: int = 2) -> np.ndarray:
    """Closed outline with its corners cut (Chaikin 1974): (n, 2) -> (n * 2^times, 2)."""
    outline = np.asarray(points, np.float64)
    for _ in range(times):
        after = np.concatenate([outline[1:], outline[:1]])
        cut = np.stack([0.75 * outline + 0.25 * after, 0.25 * outline + 0.75 * after], 1)
        outline = cut.reshape(-1, 2)
    return outline


def bent(points: ArrayLike, *, times: int = 2) -> np.ndarray:
    """Open line with its corners cut; both ends stay."""
    line = np.asarray(points, np.float64)
    for _ in range(times):
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1)
        line = np.concatenate([line[:1], cut.reshape(-1, 2), line[-1:]])
    return line


def ribbon(line: np.ndarray, width: float, *, end_width: float | None = None) -> np.ndarray:
    """Outline of a band along `line` (n, 2), tapering from `width` to `end_width` mm."""
    along = np.concatenate([line[1:2] - line[:1], line[2:] - line[:-2], line[-1:] - line[-2:-1]])
    length = np.sqrt(along[:, 0] * along[:, 0] + along[:, 1] * along[:, 1])
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(length, 1e-6)[:, None]
    last = width if end_width is None else end_width
    half = (width + (last - width) * (np.arange(len(line)) / (len(line) - 1)))[:, None] / 2
    return np.concatenate([line + normal * half, (line - normal * half)[::-1]])


def blob(dice: Dice, centre: tuple[float, float], radius: float, *, roughness: float = 0.2) -> np.ndarray:
    """Irregular round outline whose radius varies by +- `roughness`."""
    radii = radius * (1 + dice.uniforms(-roughness, roughness, 12))[:, None]
    return rounded(np.asarray(centre) + CIRCLE[::2] * radii)


def ramp(x: float, table: Sequence[tuple[float, float]]) -> float:
    """Piecewise linear function through (x, y) pairs, constant beyond its ends."""
    if x <= table[0][0]:
        return table[0][1]
    for (x0, y0), (x1, y1) in pairwise(table):
        if x <= x1:
            return y0 + (y1 - y0) * ((x - x0) / (x1 - x0))
    return table[-1][1]
