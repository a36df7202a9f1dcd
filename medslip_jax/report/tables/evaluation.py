"""What `medslip evaluate` prints of its result."""

from collections.abc import Mapping

from medslip_jax.report.tables.classification import best_source, classification_table, subgroup_table, threshold_table
from medslip_jax.report.tables.grounding import class_table, grounding_summary, pointing_lines


def summary(result: Mapping) -> str:
    """Tables for a terminal of about 100 columns: classification, thresholds, subgroups, grounding.

    Args:
      result: what metrics.json holds.
    """
    data = result["data"]
    parts = [f"{data['name']}, {data['split']}: {data['images']} images of {data.get('patients', '?')} patients"]
    for name, title in (("pathology", "zero-shot classification"), ("targets", "queries given as text")):
        section = result["classification"].get(name)
        if section:
            parts += _classification(section, title=title)
    grounding = result.get("grounding", {})
    if grounding.get("classes"):
        parts.append(str(class_table(grounding["classes"], what="grounding")))
    for group, row in grounding.get("pooled", {}).items():
        parts.append("\n".join(pointing_lines(f"{group} findings", row)))
    return "\n\n".join([*parts, *(grounding_summary(grounding) if grounding else ())])


def _classification(section: Mapping, *, title: str) -> list[str]:
    report = section["report"]
    table = classification_table(report, intervals=section["intervals"], threshold_source=best_source(report))
    ece = section.get("calibration", {}).get("macro", {}).get("ece")
    said = "" if ece is None else f"; expected calibration error {ece:.3f} (macro mean, reliability.png)"
    parts = [f"{title}{said}\n{table}", str(threshold_table(report, intervals=section["intervals"]))]
    return [*parts, str(subgroup_table(section["subgroups"]))] if section.get("subgroups") else parts
