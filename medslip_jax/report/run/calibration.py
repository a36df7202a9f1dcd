"""The calibration section of the page on a run: how often a finding is there among images of like probability."""

from collections.abc import Mapping, Sequence

from medslip_jax.evaluation.metrics.calibration import pooled_bins
from medslip_jax.report.charts import empty_chart, picture
from medslip_jax.report.html import captioned, folded, paragraph, quiet, small_multiples, table
from medslip_jax.report.reliability import draw_bins
from medslip_jax.report.tables.cells import with_interval

_SHOWN = 11  # small pictures beside that of all classes
_SIZE = (340, 270)


def calibration(found: Mapping | None) -> str:
    """The section's body, from metrics.json's "calibration" or None where an older `medslip evaluate` wrote it."""
    if not found or not found.get("classes"):
        return quiet(
            "These results hold no calibration: evaluate again with this version (medslip evaluate --checkpoint RUN "
            "--out RUN/zero_shot)."
        )
    classes = {name: row for name, row in found["classes"].items() if row.get("bins") and row.get("ece") is not None}
    order = sorted(classes.items(), key=lambda item: -item[1]["ece"])
    rows = [[name, with_interval(row["ece"], row), _count(row["bins"])] for name, row in order]
    charts = [
        captioned(name, _picture(row["bins"], name), f"ECE {error}; {count}")
        for (name, row), (_, error, count) in zip(order, rows, strict=True)
    ]
    if len(classes) > 1:
        pooled = pooled_bins([row["bins"] for _, row in order])
        charts.insert(0, captioned("all classes pooled", _picture(pooled, "all classes pooled"), _count(pooled)))
    over = f", macro mean over {len(classes)} classes" if len(classes) > 1 else ""
    macro = found.get("macro") or {}
    text = (
        f"Expected calibration error (ECE){over}: {with_interval(macro.get('ece'), macro)}, by "
        f"{found.get('bins', '')} {found.get('binning', '')} bins; it is biased upwards, the more the fewer "
        "images a bin has, and an interval may lie above it. Each dot is a bin: to the right the mean "
        "probability, upwards the share of its images that have the finding, its size by the number of images; "
        "on the broken line the two are equal. Grey bars: share of the images in each bin. The worst class comes first."
    )
    listed = folded("every class as a table", table(["class", "ECE [low, high]", "known labels"], rows))
    return paragraph(text) + small_multiples(charts, shown=_SHOWN + 1, more="classes with smaller ECE") + listed


def _picture(bins: Sequence[Mapping], name: str) -> str:
    if not _total(bins):
        return quiet("No image with a known label.")
    axes = empty_chart(*_SIZE, x_label="mean probability", y_label="share that have it")
    draw_bins(axes, bins)
    return picture(axes, title=f"reliability of {name}")


def _total(bins: Sequence[Mapping]) -> int:
    return sum(row.get("n") or 0 for row in bins)


def _count(bins: Sequence[Mapping]) -> str:
    return f"{_total(bins):,} labels"
