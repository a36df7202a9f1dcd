"""The tables of classification numbers, of `medslip evaluate` and of the page on a run alike."""

from collections.abc import Mapping, Sequence

from medslip_jax.evaluation.metrics.classification import ORACLE
from medslip_jax.evaluation.metrics.subgroups import MIN_PATIENTS
from medslip_jax.report.tables.cells import Table, with_interval

DECIDED = ("f1", "accuracy", "sensitivity", "specificity")  # what a threshold decides
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
_SUBGROUP_NOTE = (
    "Means of one attribute are over the same classes: those with positives and negatives in each of its groups of at "
    f"least {MIN_PATIENTS} patients. Smaller groups, and images of which the attribute is not known, have no AUROC."
)


def best_source(report: Mapping) -> str:
    """The most honest source of thresholds that a class of the report has one of: validation, fixed, test-oracle."""
    means = report["macro"].get("by_threshold_source") or {}
    return next((s for s in ("validation", "fixed") if s in means and means[s]["accuracy"] is not None), ORACLE)


def classification_table(
    report: Mapping, *, intervals: Mapping | None = None, threshold_source: str = ORACLE, what: str = "class"
) -> Table:
    """The macro mean, one line a class from the worst AUROC to the best, then notes.

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
      what: head of the first column.
    """
    known = intervals or {"macro": None, "classes": {}}
    # The F1 that a test-oracle threshold gives is the best one there is.
    f1 = {"max-F1": "max_f1"} if threshold_source == ORACLE else {"F1": "f1"}
    numbers = {**f1, "acc": "accuracy", "sens": "sensitivity", "spec": "specificity"}

    def cells(row: Mapping, interval: Mapping | None) -> list:
        point = row["by_threshold_source"].get(threshold_source, {})
        decided = (point.get(key) for key in numbers.values())
        return [with_interval(row["auroc"], interval), row["average_precision"], *decided]

    macro = report["macro"]
    rows = [[f"macro mean of {macro['n_defined']}", "", "", *cells(macro, known["macro"])]]
    # Undefined classes come last.
    order = sorted(report["classes"].items(), key=lambda item: 2.0 if item[1]["auroc"] is None else item[1]["auroc"])
    for name, row in order:
        rows.append([name, row["n_positive"], row["n_negative"], *cells(row, known["classes"].get(name))])
    notes = _notes(report, intervals=intervals, source=threshold_source)
    return Table([what, "n+", "n-", "AUROC", "AP", *numbers], rows, notes, left=(0, 3), summary=1)


def threshold_table(
    report: Mapping, *, intervals: Mapping | None = None, ranges: Sequence[str] = ("f1", "accuracy")
) -> Table:
    """The macro means at the thresholds of every source, a line each with where they come from.

    Args:
      report: of `metrics.classification.classification_report`.
      intervals: of `metrics.classification_intervals.classification_intervals`, or None.
      ranges: numbers that are shown with their interval; more than two would not fit a terminal.
    """
    rows = []
    macro = report["macro"]["by_threshold_source"]
    known = (intervals or {}).get("macro", {}).get("by_threshold_source", {})
    for source in sorted(macro, key=[*_SHORT].index):
        ends = {key: known.get(source, {}).get(key) for key in ranges}
        rows.append([_SHORT[source], *(with_interval(macro[source][key], ends.get(key)) for key in DECIDED)])
    return Table(["macro mean at thresholds", "F1", "acc", "sens", "spec"], rows, left=(0, 1, 2, 3, 4))


def subgroup_table(groups: Mapping) -> Table:
    """The macro AUROC of each group, of `metrics.subgroups.subgroup_report`."""
    rows, notes = [], [_SUBGROUP_NOTE]
    for attribute, values in groups.items():
        for value, group in values.items():
            macro = group["macro"]
            counts = [group["n_images"], group["n_patients"]]
            auroc = with_interval(macro["auroc"], macro)
            rows.append([f"{attribute} {value}", *counts, auroc, macro["n_defined"]])
            if macro.get("reason"):
                notes.append(f"{attribute} {value}: {macro['reason']}.")
    return Table(["subgroup", "images", "patients", "macro AUROC", "classes"], rows, notes, left=(0, 3))


def _notes(report: Mapping, *, intervals: Mapping | None, source: str) -> list[str]:
    """Where the threshold, the intervals and the gaps of a table come from."""
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
