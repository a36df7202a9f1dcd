"""The table of `medslip sweep`: a line a variant, each beside the first one."""

from collections.abc import Mapping, Sequence

from medslip_jax.report.tables.cells import Table, with_interval


def sweep_row(changes: Mapping, results: Mapping, *, comparison: Mapping | None) -> dict:
    """The numbers of one variant, JSON-able.

    Args:
      changes: {config key: value} that make the variant.
      results: its metrics.json.
      comparison: of `compare.compare` with the first variant, None for that one itself.

    Returns:
      {"changes", "auroc", "pointing", "anatomy", "difference"}: macro AUROC of pathologies, pointing game by cell of
      the focal findings (of all, if none are focal) and macro AUROC of anatomies, {"value", "low", "high"} or None;
      "difference" in macro AUROC from the first, {"value", "low", "high", "p"} or None.
    """
    sections = results["classification"]
    pooled = results.get("grounding", {}).get("pooled", {})
    group = pooled.get("focal") or pooled.get("all")
    paired = comparison["macro"]["auroc"] if comparison else None
    return {
        "changes": dict(changes),
        "auroc": _macro(sections["pathology"]),
        "pointing": group and {"value": group["means"]["pointing_cell"], **_ends(group["intervals"]["pointing_cell"])},
        "anatomy": _macro(sections["anatomy"]) if "anatomy" in sections else None,
        "difference": paired and {"value": paired["difference"], **_ends(paired), "p": paired["p"]},
    }


def sweep_table(rows: Mapping[str, Mapping], *, missing: Sequence[str] = ()) -> Table:
    """A line a variant of `sweep_row`s, in their order, for a fixed-width font; `missing` have no results yet."""
    first = next(iter(rows))
    head = ["variant", "macro AUROC", f"against {first}", "p", "pointing by cell", "anatomy AUROC", "changes"]
    lines = []
    for name, row in rows.items():
        changes = ", ".join(f"{key}={value}" for key, value in row["changes"].items()) or "-"
        difference = row["difference"]
        # Too few patients give a difference without a p-value.
        p = difference["p"] if difference else None
        cells = [_cell(row["auroc"]), _cell(difference, sign="+"), p, _cell(row["pointing"]), _cell(row["anatomy"])]
        lines.append([name, *cells, changes])
    notes = [
        "[low, high]: 95 % patient-level bootstrap; differences are paired. One training a variant: equal settings "
        "with other seeds (if the sweep has such variants) say how far apart trainings land by themselves.",
        *([f"no results yet: {', '.join(missing)}"] if missing else []),
    ]
    return Table(head, lines, notes, left=(0, 1, 2, 4, 5, 6))


def _macro(section: Mapping) -> dict:
    interval = section["intervals"]["macro"]
    return {"value": section["report"]["macro"]["auroc"], **_ends(interval.get("auroc", interval))}


def _ends(interval: Mapping) -> dict:
    return {end: interval[end] for end in ("low", "high")}


def _cell(number: Mapping | None, *, sign: str = "") -> str:
    return with_interval(number["value"], number, sign=sign) if number else "-"
