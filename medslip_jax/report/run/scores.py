"""The tables of classification numbers on the page on a run: by class, and by subgroup."""

from collections.abc import Mapping

from medslip_jax.evaluation.metrics.classification import ORACLE
from medslip_jax.report.html import facts, folded, paragraph, quiet, table
from medslip_jax.report.tables.cells import with_interval
from medslip_jax.report.tables.classification import SUBGROUP_NOTE, best_source, classification_notes, f1_key


def thresholds_from(metrics: Mapping) -> str:
    """Where the thresholds of the page come from, in words, of what metrics.json holds."""
    report = next(iter(metrics["classification"].values()))["report"]
    fixed = (metrics.get("thresholds") or {}).get("sources", {}).get("fixed", {}).get("threshold")
    return {
        "validation": str(metrics.get("threshold_split") or "validation"),
        "fixed": "fixed beforehand" if fixed is None else f"fixed beforehand ({fixed:g})",
        ORACLE: "the judged split itself (test-oracle)",
    }[best_source(report)]


def query_sentences(section: Mapping, texts: Mapping) -> str:
    """The sentence behind each query of a section that was given as text."""
    return facts({name: str(texts[name]) for name in section["report"]["classes"] if texts.get(name)})


def classification(section: Mapping, *, what: str) -> str:
    """One line a class, the macro mean first and last.

    Args:
      section: {"report", "intervals"} of `zero_shot.classify`.
      what: head of the first column.
    """
    report, intervals = section["report"], section.get("intervals")
    source = best_source(report)
    of_macro, of_classes = ((intervals or {}).get(key) or {} for key in ("macro", "classes"))
    mean = [f"macro mean of {report['macro']['n_defined']}", "", "", *_numbers(report["macro"], of_macro, source)]
    defined = {n: row for n, row in report["classes"].items() if row["auroc"] is not None}
    rows = [
        [name, row["n_positive"], row["n_negative"], *_numbers(row, of_classes.get(name), source)]
        for name, row in sorted(defined.items(), key=lambda item: -item[1]["auroc"])
    ]
    first = "max-F1" if f1_key(source) == "max_f1" else "F1"
    head = [what, "n+", "n-", "AUROC [low, high]", "AP", f"{first} ({source})", f"accuracy ({source})"]
    head += ["sensitivity", "specificity", "threshold"]
    notes = "".join(quiet(note) for note in classification_notes(report, intervals=intervals, source=source))
    return table(head, [mean, *rows, mean] if rows else [mean]) + notes + _sources(report, intervals)


def _sources(report: Mapping, intervals: Mapping | None) -> str:
    """The macro means at the thresholds of every source."""
    known = ((intervals or {}).get("macro") or {}).get("by_threshold_source") or {}
    keys = ("f1", "accuracy", "sensitivity", "specificity")
    rows = [
        [source, *(with_interval(means.get(key), known.get(source, {}).get(key)) for key in keys)]
        for source, means in report["macro"]["by_threshold_source"].items()
    ]
    head = ["thresholds from", "F1 [low, high]", "accuracy", "sensitivity", "specificity"]
    return folded("macro means at the thresholds of every source", table(head, rows) if rows else "")


def subgroups(groups: Mapping) -> str:
    """{attribute: {value: {"n_images", "macro", "classes"}}} as a table an attribute, classes folded below it."""
    parts = []
    for attribute, values in groups.items():
        rows = []
        for value, group in values.items():
            macro = group.get("macro") or {}
            counts = [group.get("n_images"), group.get("n_patients", "")]
            rows.append([str(value), *counts, _auroc(macro), str(macro.get("reason", ""))])
        by_class = [
            [name, str(value), row.get("n_positive"), row.get("n_negative"), _auroc(row)]
            for name in dict.fromkeys(name for group in values.values() for name in group.get("classes") or {})
            for value, group in values.items()
            if (row := (group.get("classes") or {}).get(name))
        ]
        parts.append(table([str(attribute), "images", "patients", "macro AUROC [low, high]", ""], rows))
        head = ["class", str(attribute), "n+", "n-", "AUROC [low, high]"]
        parts.append(folded(f"by class and {attribute}", table(head, by_class) if by_class else ""))
    return paragraph(SUBGROUP_NOTE) + "".join(parts) if parts else ""


def _auroc(row: Mapping) -> str:
    return with_interval(row.get("auroc"), row)


def _numbers(row: Mapping, interval: Mapping | None, source: str) -> list:
    """A row's cells from AUROC to the threshold."""
    point = row["by_threshold_source"].get(source, {})
    threshold = point.get("threshold")
    decided = [point.get(key) for key in (f1_key(source), "accuracy", "sensitivity", "specificity")]
    shown = "" if threshold is None else f"{threshold:.3g}"
    return [with_interval(row["auroc"], interval), row["average_precision"], *decided, shown]
