"""The tables of classification numbers on the page on a run: by class, and by subgroup."""

import dataclasses
from collections.abc import Mapping
from operator import itemgetter

from medslip_jax.evaluation.metrics.classification import ORACLE
from medslip_jax.report.html import facts, folded, noted_table, table
from medslip_jax.report.tables.cells import with_interval
from medslip_jax.report.tables.classification import (
    DECIDED,
    best_source,
    classification_table,
    subgroup_table,
    threshold_table,
)


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
    """One line a class with its threshold, and the macro means at the thresholds of every source.

    Args:
      section: {"report", "intervals"} of `zero_shot.classify`.
      what: head of the first column.
    """
    report, intervals = section["report"], section.get("intervals")
    source = best_source(report)
    found = classification_table(report, intervals=intervals, threshold_source=source, what=what)
    rows = []
    for row in found.rows:
        point = report["classes"].get(row[0], {}).get("by_threshold_source", {}).get(source, {})
        rows.append([*row, "" if point.get("threshold") is None else f"{point['threshold']:.3g}"])
    by_class = dataclasses.replace(found, head=[*found.head, "threshold"], rows=rows)
    means = noted_table(threshold_table(report, intervals=intervals, ranges=DECIDED))
    return noted_table(by_class) + folded("macro means at the thresholds of every source", means)


def subgroups(groups: Mapping) -> str:
    """{attribute: {value: {"n_images", "n_patients", "macro", "classes"}}} as a table, classes folded below it."""
    by_class = [
        [name, f"{attribute} {value}", row["n_positive"], row["n_negative"], with_interval(row["auroc"], row)]
        for attribute, values in groups.items()
        for value, group in values.items()
        for name, row in group.get("classes", {}).items()
    ]
    head = ["class", "subgroup", "n+", "n-", "AUROC"]
    classes = folded("by class", table(head, sorted(by_class, key=itemgetter(0))) if by_class else "")
    return noted_table(subgroup_table(groups)) + classes if groups else ""
