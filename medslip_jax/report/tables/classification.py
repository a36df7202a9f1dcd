"""The metrics as plain-text tables for a terminal or a log."""

import textwrap
from collections.abc import Mapping

from medslip_jax.evaluation.metrics.classification import ORACLE
from medslip_jax.evaluation.metrics.subgroups import MIN_PATIENTS
from medslip_jax.report.tables.cells import align, number, with_interval

WIDTH = 100  # columns of a terminal that notes are broken to
_NOTES = {
    ORACLE: "threshold chosen on these very labels (test-oracle), so an upper bound",
    "validation": "threshold chosen on the validation split",
    "fixed": "threshold fixed beforehand",
}
_SHORT = {
    "validation": "validation split",
    "fixed": "fixed beforehand",
    ORACLE: "test-oracle (chosen on these labels)",
}
SUBGROUP_NOTE = (
    "Means of one attribute are over the same classes: those with positives and negatives in each of its groups of at "
    f"least {MIN_PATIENTS} patients. Smaller groups, and images of which the attribute is not known, have no AUROC."
)


def best_source(report: Mapping) -> str:
    """The most honest source of thresholds that a class of the report has one of: validation, fixed, test-oracle."""
    means = report["macro"].get("by_threshold_source") or {}
    return next((s for s in ("validation", "fixed") if s in means and means[s]["accuracy"] is not None), ORACLE)


def f1_key(source: str) -> str:
    """The F1 that a threshold of that source gives: the test-oracle's is the best one there is."""
    return "max_f1" if source == ORACLE else "f1"


def classification_table(report: Mapping, *, intervals: Mapping | None = None, threshold_source: str = ORACLE) -> str:
    """The macro mean, one line a class from the worst AUROC to the best, then notes; aligned for a fixed-width font.

    Example (shortened):
      class             n+   n-  AUROC                AP     max-F1   acc   sens   spec
      macro mean of 2            0.897 [0.873, 0.921] 0.792  0.754  0.890  0.751  0.930
      --------------------------------------------------------------------------------
      mass              20  180  0.882 [0.821, 0.931] 0.783  ...
      effusion          40  160  0.912 [0.861, 0.951] 0.801  ...
      hernia             0  200  -                    -      ...

    Args:
      report: of `metrics.classification.classification_report`.
      intervals: of `metrics.classification_intervals` for the same classes, or None.
      threshold_source: "test-oracle" (column max-F1), or "validation" or "fixed" (column F1) where it is in.
    """
    f1 = "max-F1" if f1_key(threshold_source) == "max_f1" else "F1"
    macro = report["macro"]
    interval = intervals["macro"] if intervals else None
    lines = [
        ["class", "n+", "n-", "AUROC", "AP", f1, "acc", "sens", "spec"],
        [f"macro mean of {macro['n_defined']}", "", "", *_cells(macro, interval, threshold_source)],
    ]
    # Undefined classes come last.
    worst_first = sorted(
        report["classes"].items(), key=lambda item: 2.0 if item[1]["auroc"] is None else item[1]["auroc"]
    )
    for name, row in worst_first:
        interval = intervals["classes"][name] if intervals else None
        counts = [str(row["n_positive"]), str(row["n_negative"])]
        lines.append([name, *counts, *_cells(row, interval, threshold_source)])
    body = align(lines, left=(0, 3))
    body.insert(2, "-" * max(map(len, body)))
    notes = classification_notes(report, intervals=intervals, source=threshold_source)
    return "\n".join([*body, *(textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes)])


def threshold_table(report: Mapping, *, intervals: Mapping | None = None) -> str:
    """The macro means at the thresholds of every source, a line each with where they come from; intervals of the first
    two numbers, as more would not fit a terminal.

    Args:
      report: of `metrics.classification.classification_report`.
      intervals: of `metrics.classification_intervals.classification_intervals`, or None.
    """
    lines = [["macro mean at thresholds", "F1", "acc", "sens", "spec"]]
    macro = report["macro"]["by_threshold_source"]
    known = (intervals or {}).get("macro", {}).get("by_threshold_source", {})
    for source in sorted(macro, key=[*_SHORT].index):
        ranges = known.get(source, {})
        cells = [with_interval(macro[source][key], ranges.get(key)) for key in ("f1", "accuracy")]
        rest = [number(macro[source][key]) for key in ("sensitivity", "specificity")]
        lines.append([_SHORT[source], *cells, *rest])
    return "\n".join(align(lines, left=(0, 1, 2, 3, 4)))


def subgroup_table(groups: Mapping) -> str:
    """The macro AUROC of each group, of `metrics.subgroups.subgroup_report`."""
    lines, notes = [["subgroup", "images", "patients", "macro AUROC", "classes"]], []
    for attribute, values in groups.items():
        for value, group in values.items():
            macro = group["macro"]
            cells = [str(group["n_images"]), str(group["n_patients"]), with_interval(macro["auroc"], macro)]
            lines.append([f"{attribute} {value}", *cells, str(macro["n_defined"])])
            if macro.get("reason"):
                notes.append(f"{attribute} {value}: {macro['reason']}.")
    said = textwrap.fill(SUBGROUP_NOTE, WIDTH, subsequent_indent="  ")
    return "\n".join([*align(lines, left=(0, 3)), said, *notes])


def _cells(row: Mapping, interval: Mapping | None, source: str) -> list[str]:
    point = row["by_threshold_source"][source]
    decided = [number(point.get(key)) for key in (f1_key(source), "accuracy", "sensitivity", "specificity")]
    return [with_interval(row["auroc"], interval), number(row["average_precision"]), *decided]


def classification_notes(report: Mapping, *, intervals: Mapping | None, source: str) -> list[str]:
    """Lines below a table: where its threshold, its intervals and its gaps come from."""
    notes = [f"F1, acc, sens, spec: {_NOTES[source]}."]
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
