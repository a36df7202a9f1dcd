"""Charts of the pages, drawn by matplotlib: small SVG pictures whose text stays text and whose bytes come out again."""

import base64
import io
import re
from html import escape
from typing import Any, Literal, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Apart from each other for colour-blind eyes too, dark enough for paper (Okabe and Ito's, the yellow left out).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#6a51a3", "#555555")
FAINT = "#b9c6d2"
CHANCE: dict[str, Any] = {"linestyle": "--", "linewidth": 0.8, "color": "#99aabb"}
Place = Literal["best", "lower right", "upper right"]  # of a legend
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 8, 32  # points around the plot
_LEAST_BEND = 0.5  # points by which a line may miss a point that it is drawn without
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medslip_jax",
    "text.parse_math": False,
    "font.size": 8,
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": "#223344",
    "legend.frameon": False,
}


def empty_chart(width: int, height: int, *, x_label: str, y_label: str = "") -> Axes:
    """Axes of a picture of its own, in points, to draw into."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
        across, up = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM
        axes = figure.add_axes((_LEFT / width, _BOTTOM / height, across / width, up / height))
        axes.set(xlabel=x_label, ylabel=y_label, axisbelow=True)
        axes.grid(color="#e6ebf0", linewidth=0.8)
        axes.tick_params(length=0, labelcolor="#223344")
        for spine in axes.spines.values():
            spine.set(color="#99aabb", linewidth=0.8)
        return axes


def picture(axes: Axes, *, title: str, legend: Place | None = None) -> str:
    """The picture of `empty_chart`'s axes as HTML; `title` is for those who do not see it.

    With a `legend` of what has a label, at that place.

    An image and not inline, so that neither its styles nor its ids meet those of the page.
    """
    for line in axes.lines:
        line.get_path().simplify_threshold = _LEAST_BEND
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    text = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        if legend:
            axes.legend(loc=legend, fontsize=7)
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        cast(Figure, axes.figure).savefig(text, format="svg", metadata=metadata)
    drawn = re.sub(r"\s+", " ", text.getvalue())
    drawn = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), drawn)
    source = base64.b64encode(drawn.encode()).decode()
    return f'<img class="chart" src="data:image/svg+xml;base64,{source}" alt="{escape(title)}">'
