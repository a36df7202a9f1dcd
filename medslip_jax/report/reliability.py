"""Reliability diagrams as one PNG: how often a finding is there, against how probable the model calls it."""

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medslip_jax.errors import InputError
from medslip_jax.report.overlays import write_figure

_ACROSS, _PANEL_INCHES = 5, 2.1
_LINE, _BARS, _PERFECT = "#0b4a8f", "#c9d6e6", "0.6"
# Panels beyond this many are left out, worst calibration first: a picture of 75 would be read by nobody.
_SHOWN = 20


def reliability_grid(calibration: Mapping, path: str | Path, *, title: str | None = None) -> Path:
    """Writes one panel a class, largest expected calibration error first.

    A dot is a bin that has images: its mean probability and its share of positives; the dashed line is perfect
    calibration. Light bars are the share of the class's images in the bin, on the same axis.

    Args:
      calibration: of `metrics.calibration.calibration_report`.
      path: the PNG to write; it appears whole or not at all.
      title: a line over everything.

    Raises:
      InputError: no class has labels, or the file cannot be written.
    """
    known = {name: row for name, row in calibration["classes"].items() if row["ece"] is not None}
    if not known:
        raise InputError(f"there is no class with labels to draw in {path}; check the split and the classes asked for")
    shown = sorted(known, key=lambda name: -known[name]["ece"])[:_SHOWN]
    across = min(_ACROSS, len(shown))
    lines = math.ceil(len(shown) / across)
    figure = Figure(figsize=(max(_PANEL_INCHES * across, 4) + 0.4, (_PANEL_INCHES + 0.3) * lines + 0.7), dpi=110)
    axes = figure.subplots(lines, across, squeeze=False, sharex=True, sharey=True)
    figure.set_layout_engine("constrained")
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_axis_off()
    for number, (name, axis) in enumerate(zip(shown, axes.flat, strict=False)):
        _draw(axis, known[name], name=name)
        # The lowest panel of a column, which need not be in the last line.
        axis.tick_params(labelbottom=number + across >= len(shown))
    figure.supxlabel("probability of presence", fontsize=9)
    figure.supylabel("share of positives", fontsize=9)
    left_out = f"; {len(known) - len(shown)} better calibrated classes not shown" if len(shown) < len(known) else ""
    figure.suptitle(f"{title or 'calibration'} (macro ECE {calibration['macro']['ece']:.3f}{left_out})", fontsize=10)
    return write_figure(figure, path)


def _draw(axis: Axes, row: Mapping, *, name: str) -> None:
    bins = row["bins"]
    axis.plot([0, 1], [0, 1], linestyle="--", linewidth=0.8, color=_PERFECT)
    shares = [cell["n"] / row["n"] for cell in bins]
    axis.bar([cell["low"] for cell in bins], shares, width=1 / len(bins), align="edge", color=_BARS, linewidth=0)
    filled = [cell for cell in bins if cell["n"]]
    points = ([cell["mean_score"] for cell in filled], [cell["fraction_positive"] for cell in filled])
    axis.plot(*points, marker="o", markersize=3.5, linewidth=1.2, color=_LINE)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    axis.set_title(f"{name}\nECE {row['ece']:.3f}, n {row['n']:,}", fontsize=8)
    axis.tick_params(labelsize=7)
