"""Reliability diagrams as one PNG: how often a finding is there, against how probable the model calls it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medslip_jax.errors import InputError
from medslip_jax.report.charts import CHANCE, COLOURS, FAINT
from medslip_jax.report.overlays import write_figure

_ACROSS, _PANEL_INCHES = 5, 2.1
_LEAST, _MOST = 6.0, 60.0  # square points of the dot of the emptiest and the fullest bin
# Panels beyond this many are left out, worst calibration first: a picture of 75 would be read by nobody.
_SHOWN = 20


def reliability_grid(calibration: Mapping, path: str | Path, *, title: str | None = None) -> Path:
    """Writes one panel (`draw_bins`) a class, largest expected calibration error first.

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
        row = known[name]
        draw_bins(axis, row["bins"])
        axis.set_title(f"{name}\nECE {row['ece']:.3f}, n {row['n']:,}", fontsize=8)
        axis.tick_params(labelsize=7)
        # The lowest panel of a column, which need not be in the last line.
        axis.tick_params(labelbottom=number + across >= len(shown))
    figure.supxlabel("probability of presence", fontsize=9)
    figure.supylabel("share of positives", fontsize=9)
    left_out = f"; {len(known) - len(shown)} better calibrated classes not shown" if len(shown) < len(known) else ""
    figure.suptitle(f"{title or 'calibration'} (macro ECE {calibration['macro']['ece']:.3f}{left_out})", fontsize=10)
    return write_figure(figure, path)


def draw_bins(axis: Axes, bins: Sequence[Mapping]) -> None:
    """The bins of one class, of which one has images, over the unit square.

    A dot is a bin that has images: its mean probability and its share of positives, its area by their number; the
    broken line is perfect calibration. Light bars are the share of the class's images in the bin, on the same axis.
    """
    filled = [cell for cell in bins if cell["n"]]
    counts = np.array([cell["n"] for cell in filled])
    edges = np.array([(cell["low"], cell["high"]) for cell in filled])
    means, shares = ([cell[key] for cell in filled] for key in ("mean_score", "fraction_positive"))
    axis.bar(edges[:, 0], counts / counts.sum(), width=np.ptp(edges, axis=1), align="edge", color=FAINT)
    axis.plot([0, 1], [0, 1], **CHANCE)
    axis.plot(means, shares, linewidth=1.2, color=COLOURS[0])
    axis.scatter(means, shares, s=_LEAST + (_MOST - _LEAST) * counts / counts.max(), color=COLOURS[0], clip_on=False)
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
