"""The calibration section of the page on a run: how often a finding is there among images of like probability."""

from collections.abc import Mapping, Sequence

import numpy as np

from medslip_jax.report.contents.html import table
from medslip_jax.report.run.charts import COLOURS, FAINT, UNIT, Axes, Line, chart
from medslip_jax.report.run.html import captioned, folded, missing, multiples, said
from medslip_jax.report.tables.cells import with_interval

_SHOWN = 11  # small pictures beside that of all classes
_SIZE = (340, 270)
_RADII = (2.0, 7.0)  # pixels, of the emptiest and the fullest bin


def calibration(found: Mapping | None) -> str:
    """The section's body, from metrics.json's "calibration" or None where an older `medslip evaluate` wrote it."""
    if not found or not found.get("classes"):
        return missing(
            "These results hold no calibration: evaluate again with this version (medslip evaluate --checkpoint RUN "
            "--out RUN/zero_shot)."
        )
    classes = {name: row for name, row in found["classes"].items() if row.get("bins") and row.get("ece") is not None}
    order = sorted(classes, key=lambda name: -classes[name]["ece"])
    cards = []
    if len(classes) > 1:
        pooled = _pooled([classes[name]["bins"] for name in order])
        cards = [captioned("all classes pooled", _picture(pooled, "all classes pooled"), _count(pooled))]
    for name in order:
        row = classes[name]
        note = f"ECE {with_interval(row['ece'], row)}; {_count(row['bins'])}"
        cards.append(captioned(name, _picture(row["bins"], name), note))
    over = f", macro mean over {len(classes)} classes" if len(classes) > 1 else ""
    text = (
        f"Expected calibration error (ECE){over}: {_macro(found)}, by "
        f"{found.get('bins', '')} {found.get('binning', '')} bins; it is biased upwards, the more the fewer "
        "images a bin has, and an interval may lie above it. Each dot is a bin: to the right the mean "
        "probability, upwards the share of its images that have the finding, its size by the number of images; "
        "on the broken line the two are equal. Grey bars: share of the images in each bin. The worst class comes first."
    )
    rows = [[name, with_interval(classes[name]["ece"], classes[name]), _count(classes[name]["bins"])] for name in order]
    listed = folded("every class as a table", table(["class", "ECE [low, high]", "known labels"], rows))
    return said(text) + multiples(cards, shown=_SHOWN + 1, more="classes with smaller ECE") + listed


def _macro(found: Mapping) -> str:
    macro = found.get("macro") or {}
    return with_interval(macro.get("ece"), macro)


def _pooled(tables: Sequence[Sequence[Mapping]]) -> list[dict]:
    """Bins of several classes as those of one, by their edges; empty ones stay."""
    sums: dict[tuple[float, float], np.ndarray] = {}
    for one in (row for rows in tables for row in rows):
        shares = [one["mean_score"], one["fraction_positive"]] if one["n"] else [0.0, 0.0]
        key = (one["low"], one["high"])
        sums[key] = sums.get(key, np.zeros(3)) + one["n"] * np.array([1.0, *shares])
    return [
        {
            "low": low,
            "high": high,
            "n": int(n),
            "mean_score": score / n if n else None,
            "fraction_positive": positive / n if n else None,
        }
        for (low, high), (n, score, positive) in sorted(sums.items())
    ]


def _picture(bins: Sequence[Mapping], name: str) -> str:
    filled = [row for row in bins if row.get("n")]
    if not filled:
        return missing("No image with a known label.")
    counts = np.array([row["n"] for row in filled], np.float64)
    # Empty ones too, as bars are as wide as the bins lie apart.
    bars = np.array([[(row["low"] + row["high"]) / 2, row["n"] / counts.sum()] for row in bins])
    small, large = _RADII
    points = np.array([[row["mean_score"], row["fraction_positive"]] for row in filled])
    lines = [
        Line("share of the images", bars, colour=FAINT, mark="bars"),
        Line("calibrated", np.array([[0, 0], [1, 1]]), colour="#9ab", width=1, dashes="3 3"),
        Line(
            name,
            points,
            colour=COLOURS[0],
            mark="dots",
            sizes=small + (large - small) * np.sqrt(counts / counts.max()),
        ),
    ]
    axes = Axes("mean probability", "share that have it", UNIT, UNIT, size=_SIZE)
    return chart(lines, axes, title=f"reliability of {name}")


def _count(bins: Sequence[Mapping]) -> str:
    return f"{sum(row.get('n') or 0 for row in bins):,} labels"
