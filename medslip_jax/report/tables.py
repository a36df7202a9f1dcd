"""The metrics as plain-text tables for a terminal or a log."""

from collections.abc import Mapping, Sequence

from medslip_jax.metrics.classification import ORACLE

_NOTES = {
    ORACLE: "threshold chosen on these very labels (test-oracle), so an upper bound",
    "validation": "threshold chosen on the validation split",
    "fixed": "threshold fixed beforehand",
}


def classification_table(report: Mapping, *, intervals: Mapping | None = None, threshold_source: str = ORACLE) -> str:
    """One line a class, the macro mean last, then notes; columns are aligned for a fixed-width font.

    Example (shortened):
      class          n+   n-  AUROC                AP     max-F1   acc
      effusion       40  160  0.912 [0.861, 0.951] 0.801  0.763    0.905
      hernia          0  200  -                    -      -        -

    Args:
      report: of `metrics.classification.classification_report`.
      intervals: of `metrics.intervals.auroc_intervals` for the same classes, or None.
      threshold_source: "test-oracle" (column max-F1), or "validation" or "fixed" (column F1) where it is in.
    """
    f1 = "max_f1" if threshold_source == ORACLE else "f1"
    header = ["class", "n+", "n-", "AUROC", "AP", "max-F1" if f1 == "max_f1" else "F1", "acc"]
    lines = [header]
    for name, row in report["classes"].items():
        interval = intervals["classes"][name] if intervals else None
        counts = [str(row["n_positive"]), str(row["n_negative"])]
        lines.append([name, *counts, *_cells(row, interval=interval, source=threshold_source, f1=f1)])
    macro = report["macro"]
    interval = intervals["macro"] if intervals else None
    label = f"macro mean of {macro['n_defined']}"
    lines.append([label, "", "", *_cells(macro, interval=interval, source=threshold_source, f1=f1)])
    body = _align(lines, left=(0, 3))
    body[-1:-1] = [_rule(body)]
    return "\n".join([*body, *_notes(report, intervals=intervals, source=threshold_source)])


def grounding_table(reports: Sequence[Mapping]) -> str:
    """One line a protocol, from results of `metrics.grounding.grounding_report`; for a fixed-width font."""
    lines = [["protocol", "threshold", "images", "pointing px (chance)", "pointing cell (chance)", "IoU", "Dice"]]
    for report in reports:
        pixel = f"{_number(report['pointing_pixel'])} ({_number(report['chance_pixel'])})"
        cell = f"{_number(report['pointing_cell'])} ({_number(report['chance_cell'])})"
        threshold = "-" if report["threshold"] is None else f"{report['threshold']:g}"
        overlap = [_number(report["iou"]), _number(report["dice"])]
        lines.append([report["protocol"], threshold, str(report["n_images"]), pixel, cell, *overlap])
    return "\n".join(_align(lines, left=(0, 3, 4)))


def _rule(body: Sequence[str]) -> str:
    """A rule as wide as the widest line."""
    return "-" * max(map(len, body))


def _cells(row: Mapping, *, interval: Mapping | None, source: str, f1: str) -> list[str]:
    point = row["by_threshold_source"][source]
    auroc = _number(row["auroc"])
    if interval and interval["low"] is not None:
        auroc += f" [{interval['low']:.3f}, {interval['high']:.3f}]"
    return [auroc, _number(row["average_precision"]), _number(point[f1]), _number(point["accuracy"])]


def _notes(report: Mapping, *, intervals: Mapping | None, source: str) -> list[str]:
    notes = [f"F1, acc: {_NOTES[source]}."]
    if intervals:
        level = f"{100 * intervals['level']:g} %"
        notes.append(
            f"[low, high]: {level} interval, {intervals['method']}, {intervals['resamples']} resamples of "
            f"{intervals['n_patients']} patients."
        )
    if report["undefined"]:
        listed = "; ".join(f"{name}: {reason}" for name, reason in report["undefined"].items())
        notes.append(f"Not defined and in no mean ({len(report['undefined'])}): {listed}.")
    return notes


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _align(lines: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    )
    return ["  ".join(cells).rstrip() for cells in aligned]
