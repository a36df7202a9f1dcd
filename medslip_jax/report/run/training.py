"""The training section of the page on a run: what `metrics.jsonl` holds, as charts over the steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medslip_jax.experiment.sections import LOSS_TERMS
from medslip_jax.report.charts import COLOURS, Place, empty_chart, picture
from medslip_jax.report.html import captioned, folded, quiet, side_by_side, table

# Titles of what a run of ours writes, in the order of the page; other names follow under their own.
_TITLES = {
    "val_auroc": "validation: macro AUROC",
    "learning_rate": "learning rate",
    "gradient_norm": "norm of the gradient",
    "images_per_second": "images a second",
}
_NOT_DRAWN = ("step", "val_classes")
_DASHES = ("-", "--", ":", "-.", (0, (1, 3)))
_SIZE = (340, 210)
_RATIO_OF_LOG = 30  # a loss that falls by more has its tail on the axis of a linear chart
_FEW = 12  # points up to which each is a dot


def training(lines: Sequence[Mapping] | None, *, unreadable: int = 0) -> str:
    """The section's body.

    Args:
      lines: of metrics.jsonl, {"step", name: number ...} each, or None if there is no file.
      unreadable: how many lines are no JSON objects with a step.
    """
    if not lines:
        return quiet(f"No curves: metrics.jsonl {'is not there' if lines is None else 'has no usable line'}.")
    series = _series(lines)
    groups = {"total loss": ["loss"], "terms of the loss": [term for term in LOSS_TERMS if term in series]}
    groups |= {_TITLES.get(name, name): [name] for name in (*_TITLES, *series) if name not in ("loss", *LOSS_TERMS)}
    cards = [
        _card(names, series, title=title) for title, names in groups.items() if names and set(names) <= set(series)
    ]
    last = max(line["step"] for line in lines)
    about = (
        f"metrics.jsonl, {len(lines)} lines up to step {last:,}; a point of training is the mean since the one before "
        "it, one of validation is of its step."
    )
    table_of_last = folded("the last values as a table", _last(series))
    broken = quiet(f"{unreadable} lines of metrics.jsonl could not be read and were left out.") if unreadable else ""
    return quiet(about) + side_by_side(cards) + table_of_last + broken


def _series(lines: Sequence[Mapping]) -> dict[str, np.ndarray]:
    """{name: (n, 2) of step and value}, in the order of the steps; only numbers count."""
    found: dict[str, list] = {}
    for line in sorted(lines, key=lambda line: line["step"]):
        for name, value in line.items():
            if name not in _NOT_DRAWN and isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, []).append((line["step"], value))
    return {name: np.array(points, np.float64) for name, points in found.items()}


def _card(names: Sequence[str], series: Mapping[str, np.ndarray], *, title: str) -> str:
    """One chart, with a logarithmic axis where the values ask for it."""
    axes = empty_chart(*_SIZE, x_label="step")
    axes.locator_params(axis="x", integer=True)
    for i, name in enumerate(names):
        style: dict[str, Any] = {"marker": "o" if len(series[name]) <= _FEW else "", "linestyle": _DASHES[i]}
        axes.plot(*series[name].T, label=name, color=COLOURS[i], linewidth=1.4, markersize=3.5, **style)
    values = np.concatenate([series[name][:, 1] for name in names])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return captioned(title, quiet("No value to draw."))
    if finite.min() > 0 and finite.max() > _RATIO_OF_LOG * finite.min():
        axes.set_yscale("log")
    legend: Place | None = "best" if len(names) > 1 else None
    return captioned(title, picture(axes, title=f"{title} over the steps", legend=legend))


def _last(series: Mapping[str, np.ndarray]) -> str:
    rows = []
    for name, points in series.items():
        low, high = float(points[:, 1].min()), float(points[:, 1].max())
        rows.append([name, int(points[-1, 0]), *(f"{value:.4g}" for value in (points[-1, 1], low, high))])
    return table(["", "at step", "last", "lowest", "highest"], rows)
