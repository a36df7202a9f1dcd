"""Heat maps over X-rays as PNG files: row 0 of image, map and box is the top, as in the arrays."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.regions import upsample
from medslip_jax.storage.files import write_bytes

# Yellow to red, which is nowhere in an X-ray nor in the boxes' cyan; transparent where attention is low, so
# that the image stays readable. The colour bar shows the same colours over mid-grey.
_OPACITY = 0.7
HEAT = ListedColormap(
    np.column_stack([colormaps["autumn_r"](np.linspace(0, 1, 256))[:, :3], np.linspace(0, _OPACITY, 256)]),
    name="heat",
)
TRUTH = "#00e5ff"
_PANEL_INCHES = 2.6
_CASES_A_LINE = 2  # of two panels each


@dataclass(frozen=True)
class OverlayRow:
    """One case of `overlay_grid`.

    image: uint8 H x W. attention: float h x w, not negative. name: the class shown. boxes: float K x 4, the
    truth as fractions (x0, y0, x1, y1). probability: of the class, in [0, 1], or None. truth: "present",
    "absent" or "unknown".
    """

    image: np.ndarray
    attention: np.ndarray
    name: str
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    probability: float | None = None
    truth: str = "unknown"


def overlay_grid(rows: Sequence[OverlayRow], path: str | Path, *, title: str | None = None) -> Path:
    """Write one PNG: for each case the X-ray with its true boxes, and beside it the same under its heat map.

    Every map is divided by its own maximum: colours compare places within an image, not image with image.

    Args:
      rows: the cases, in reading order.
      path: the PNG to write; its folder is made if need be. It appears whole or not at all.
      title: a line over everything.

    Returns:
      `path` as a Path.

    Raises:
      InputError: no rows, or a row whose image, map or boxes have the wrong shape; the row is named.
    """
    if not rows:
        raise InputError(f"there is no case to draw in {path}; check the split and the classes asked for")
    for number, row in enumerate(rows):
        where = f"overlay row {number} ({row.name})"
        _check(row.image, row.attention, where=where)
        if np.ndim(row.boxes) != 2 or np.shape(row.boxes)[1] != 4:
            shape = np.shape(row.boxes)
            raise InputError(f"{where}: boxes have shape {shape}; give K x 4 fractions x0, y0, x1, y1")
    lines = math.ceil(len(rows) / _CASES_A_LINE)
    across = 2 * min(_CASES_A_LINE, len(rows))
    figure = Figure(figsize=(_PANEL_INCHES * across + 0.9, (_PANEL_INCHES + 0.35) * lines + 0.5), dpi=110)
    axes = figure.subplots(lines, across, squeeze=False)
    figure.set_layout_engine("constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for row, pair in zip(rows, axes.reshape(-1, 2), strict=False):
        heat = _draw_case(row, plain=pair[0], overlaid=pair[1])
    bar = figure.colorbar(heat, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("attention / the image's own maximum", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_facecolor("0.5")
    if title:
        figure.suptitle(title, fontsize=11)
    return write_figure(figure, path)


def write_figure(figure: Figure, path: str | Path) -> Path:
    """The figure as a PNG, whole or not at all; its folder is made if need be."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return _write(buffer.getvalue(), Path(path))


def save_overlay(image: np.ndarray, attention: np.ndarray, path: str | Path) -> Path:
    """Write one X-ray under its heat map as a PNG of the image's size; returns the path.

    Args:
      image: uint8 H x W.
      attention: float h x w, not negative.
      path: the PNG to write.

    Raises:
      InputError: image or map of the wrong shape; the file is named.
    """
    _check(image, attention, where=str(path))
    _, data = cv2.imencode(".png", cv2.cvtColor(blend(image, attention), cv2.COLOR_RGB2BGR))
    return _write(data.tobytes(), Path(path))


def blend(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """The image under its heat map (`HEAT` of map / maximum): uint8 H x W x 3, RGB.

    Args:
      image: uint8 H x W.
      attention: float h x w, not negative; a map of zeros leaves the image as it is.
    """
    colours = HEAT(_relative(attention, size=image.shape))
    opacity = colours[..., 3:]
    mixed = opacity * colours[..., :3] * 255 + (1 - opacity) * image[..., None]
    return np.rint(mixed).astype(np.uint8)


def _draw_case(row: OverlayRow, *, plain: Axes, overlaid: Axes):
    """Fill a case's two panels; returns the heat layer, from which a colour bar can be made."""
    height, width = row.image.shape
    for axis in (plain, overlaid):
        axis.imshow(row.image, cmap="gray", vmin=0, vmax=255)
        for x0, y0, x1, y1 in np.asarray(row.boxes, np.float64):
            corner = (x0 * width - 0.5, y0 * height - 0.5)
            size = ((x1 - x0) * width, (y1 - y0) * height)
            axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor=TRUTH, linewidth=1.2))
    relative = _relative(row.attention, size=row.image.shape)
    heat = overlaid.imshow(relative, cmap=HEAT, vmin=0, vmax=1, interpolation="nearest")
    said = "" if row.probability is None else f"p(present) = {row.probability:.2f}"
    plain.set_title(f"{row.name}: {row.truth}", fontsize=9)
    overlaid.set_title(said, fontsize=9)
    return heat


def _relative(attention: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    large = upsample(np.asarray(attention)[None], size=size)[0]
    top = large.max()
    return large / top if top > 0 else large


def _check(image: np.ndarray, attention: np.ndarray, *, where: str) -> None:
    if np.ndim(image) != 2 or image.dtype != np.uint8:
        raise InputError(f"{where}: the image is {image.dtype} {image.shape}; give grey uint8 H x W")
    if np.ndim(attention) != 2 or not np.isfinite(attention).all() or np.min(attention) < 0:
        raise InputError(f"{where}: the attention map must be h x w, finite and not negative; check the checkpoint")


def _write(data: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    return path
