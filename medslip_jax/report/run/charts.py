"""Line charts of the page on a run, as SVG text: axes, lines and dots; what a line is called stands in a legend."""

import dataclasses
from collections.abc import Sequence
from html import escape
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

# Apart from each other for colour-blind eyes too, dark enough for paper (Okabe and Ito's, the yellow left out).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#6a51a3", "#555555")
FAINT = "#b9c6d2"
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 8, 32  # pixels around the plot
_RATIO_OF_LOG = 30  # a loss that falls by more has its tail on the axis of a linear chart


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    points: float (n, 2) in the chart's units, joined in this order; one that is not finite leaves a gap.
    mark: "line", "dots" (joined by a line), or "bars" from the bottom of the chart.
    dashes: of the stroke, "" for none. sizes: radii of the dots in pixels, (n,), or None for 2.5.
    """

    name: str
    points: np.ndarray
    colour: str = COLOURS[0]
    width: float = 1.6
    mark: Literal["line", "dots", "bars"] = "line"
    dashes: str = ""
    sizes: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Axes:
    """Ranges (low, high), None to fit the lines; labels; "auto" makes y logarithmic where the values ask for it."""

    x_label: str = ""
    y_label: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    y_scale: Literal["linear", "auto"] = "linear"
    size: tuple[int, int] = (340, 210)


UNIT = (0.0, 1.0)


def chart(lines: Sequence[Line], axes: Axes, *, title: str) -> str:
    """The lines as one SVG, the first lowest; `title` is for those who do not see it.

    Without a single finite point there is no chart but a sentence.
    """
    lines = [dataclasses.replace(line, points=np.asarray(line.points, np.float64).reshape(-1, 2)) for line in lines]
    finite = [line.points[np.isfinite(line.points).all(axis=1)] for line in lines]
    if not sum(map(len, finite)):
        return '<p class="quiet">No value to draw.</p>'
    frame = _frame(np.concatenate(finite), axes)
    width, height = axes.size
    parts = [*_grid(frame, axes), *(_drawn(line, frame) for line in lines)]
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def reference(name: str, *, heights: tuple[float, float] = UNIT) -> Line:
    """A broken line from x = 0 to x = 1, the diagonal by default."""
    return Line(name, np.column_stack([UNIT, heights]), colour="#9ab", width=1, dashes="3 3")


def legend(lines: Sequence[Line]) -> str:
    """The names of lines beside their colours."""
    items = (
        f'<li><svg viewBox="0 0 22 8" width="22" height="8"><path d="M0 4H22" stroke="{line.colour}" '
        f'stroke-width="2.5" stroke-dasharray="{line.dashes}" /></svg>{escape(line.name)}</li>'
        for line in lines
    )
    return f'<ul class="lines">{"".join(items)}</ul>'


def stairs(points: np.ndarray) -> np.ndarray:
    """(n, 2) -> (2 n - 1, 2): before each point its height at the x before it, as average precision sums.

    Example: (0, 1), (.5, .6), (1, .4) -> (0, 1), (0, .6), (.5, .6), (.5, .4), (1, .4).
    """
    corners = np.repeat(np.asarray(points, np.float64), 2, axis=0)
    return np.column_stack([corners[:-1, 0], corners[1:, 1]])


def thinned(pixels: np.ndarray) -> np.ndarray:
    """(n, 2) rounded to half pixels, without repetitions and without the middles of straight pieces."""
    rounded = np.rint(pixels * 2) / 2
    fresh = np.concatenate([[True], (np.diff(rounded, axis=0) != 0).any(axis=1)]) if len(rounded) else []
    kept = rounded[fresh]
    if len(kept) < 3:
        return kept
    before, after = np.diff(kept, axis=0)[:-1], np.diff(kept, axis=0)[1:]
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) < 0
    return kept[np.concatenate([[True], turns | back, [True]])]


@dataclasses.dataclass(frozen=True)
class _Frame:
    """Units to pixels."""

    low: np.ndarray
    high: np.ndarray
    size: tuple[int, int]
    log: bool

    def place(self, points: np.ndarray) -> np.ndarray:
        points = self.scaled(np.asarray(points, np.float64))
        part = (points - self.scaled(self.low)) / (self.scaled(self.high) - self.scaled(self.low))
        width, height = self.size
        origin, extent = (_LEFT, height - _BOTTOM), (width - _LEFT - _RIGHT, _TOP + _BOTTOM - height)
        return np.array(origin) + part * np.array(extent)

    def scaled(self, points: np.ndarray) -> np.ndarray:
        return np.stack([points[..., 0], np.log10(points[..., 1])], axis=-1) if self.log else points


def _frame(points: np.ndarray, axes: Axes) -> _Frame:
    low, high = points.min(axis=0), points.max(axis=0)
    for i, given in enumerate((axes.x_range, axes.y_range)):
        if given:
            low[i], high[i] = given
    wide = low[1] > 0 and high[1] > _RATIO_OF_LOG * low[1]
    log = axes.y_scale == "auto" and wide
    if not axes.y_range:
        room = 0.05 * (high[1] - low[1])
        low[1], high[1] = (low[1] / 1.2, high[1] * 1.2) if log else (low[1] - room, high[1] + room)
    # One value is a line in the middle.
    flat = high <= low
    half = np.where(flat, np.maximum(np.abs(low) * 0.1, 1e-6), 0)
    return _Frame(low - half, high + half, axes.size, log)


def _grid(frame: _Frame, axes: Axes) -> list[str]:
    width, height = axes.size
    right, bottom = width - _RIGHT, height - _BOTTOM
    across, up = right - _LEFT, bottom - _TOP
    x_ticks = _linear(frame.low[0], frame.high[0], count=max(2, across // 50))
    y_ticks = (_logarithmic if frame.log else _linear)(frame.low[1], frame.high[1], count=max(2, up // 30))
    parts = []
    for x in x_ticks:
        place = frame.place(np.array([x, frame.low[1]]))[0]
        parts.append(f'<path class="grid" d="M{place:.1f} {_TOP}V{bottom}" />')
        # A long number at the right edge would be cut off.
        text, at_edge = _number(x), place > right - 6
        anchor = "end" if at_edge and len(text) > 2 else "middle"
        parts.append(f'<text x="{place:.1f}" y="{bottom + 12}" text-anchor="{anchor}">{text}</text>')
    for y in y_ticks:
        place = frame.place(np.array([frame.low[0], y]))[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {place:.1f}H{right}" />')
        parts.append(f'<text x="{_LEFT - 4}" y="{place + 3.5:.1f}" text-anchor="end">{_number(y)}</text>')
    parts.append(f'<rect x="{_LEFT}" y="{_TOP}" width="{across}" height="{up}" fill="none" stroke="#9ab" />')
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{height - 5}" text-anchor="middle" class="label">{escape(axes.x_label)}</text>'
    )
    turned = f"translate(9 {(_TOP + bottom) / 2:.0f}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle" class="label">{escape(axes.y_label)}</text>')
    return parts


def _linear(low: float, high: float, *, count: int) -> list[float]:
    slack = 1e-9 * (high - low)
    ticks = MaxNLocator(nbins=count, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(t) for t in ticks if low - slack <= t <= high + slack]


def _logarithmic(low: float, high: float, *, count: int) -> list[float]:
    """1, 2, 5, 10, 20 ... or, where these are too many, powers of ten."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    fine = [float(f * power) for power in powers for f in (1, 2, 5) if low <= f * power <= high]
    return fine if len(fine) <= count + 1 else [float(power) for power in powers if low <= power <= high]


def _number(value: float) -> str:
    """At most five characters or so: 0.25, 1200, 20k, 5e-4."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k" if abs(value) < 1e6 else f"{value / 1e6:g}M"
    if 0 < abs(value) < 1e-3:
        return f"{value:.3g}".replace("e-0", "e-") if abs(value) < 1e-4 else f"{value * 1e4:.3g}e-4"
    return f"{value:.4g}"


def _drawn(line: Line, frame: _Frame) -> str:
    usable = np.isfinite(line.points).all(axis=1) & ((line.points[:, 1] > 0) | (not frame.log))
    pixels = np.full(line.points.shape, np.nan)
    pixels[usable] = frame.place(line.points[usable])
    if line.mark == "bars":
        return _bars(pixels[usable], line, bottom=frame.size[1] - _BOTTOM)
    pieces = np.split(pixels, np.flatnonzero(~usable))
    pieces = [piece[np.isfinite(piece).all(axis=1)] for piece in pieces]
    path = "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in thinned(piece)) for piece in pieces if len(piece))
    stroke = f'stroke="{line.colour}" stroke-width="{line.width:g}" stroke-dasharray="{line.dashes}"'
    drawn = f'<path d="{path}" fill="none" stroke-linejoin="round" {stroke}><title>{escape(line.name)}</title></path>'
    if line.mark == "line":
        return drawn
    sizes = np.full(len(pixels), 2.5) if line.sizes is None else np.asarray(line.sizes)
    dots = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{line.colour}" fill-opacity="0.75" />'
        for (x, y), r in zip(pixels[usable], sizes[usable], strict=True)
    )
    return drawn + "".join(dots)


def _bars(pixels: np.ndarray, line: Line, *, bottom: float) -> str:
    """Around each x, as wide as the points lie apart."""
    wide = float(np.diff(pixels[:, 0]).min()) if len(pixels) > 1 else 10.0
    return "".join(
        f'<rect x="{x - wide / 2 + 0.5:.1f}" y="{y:.1f}" width="{max(wide - 1, 1):.1f}" '
        f'height="{max(bottom - y, 0):.1f}" fill="{line.colour}" />'
        for x, y in pixels
    )
