"""What `medslip evaluate` prints of its result."""

from collections.abc import Mapping

from medslip_jax.report.tables.classification import best_source, classification_table, subgroup_table, threshold_table
from medslip_jax.report.tables.grounding import grounding_summary, pointing_lines


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
        parts.append(_grounding(grounding["classes"]))
    for group, row in grounding.get("pooled", {}).items():
        parts.append("\n".join(pointing_lines(f"{group} findings", row)))
    return "\n\n".join([*parts, *(grounding_summary(grounding) if grounding else ())])


def _classification(section: Mapping, *, title: str) -> list[str]:
    report = section["report"]
    table = classification_table(report, intervals=section["intervals"], threshold_source=best_source(report))
    ece = section.get("calibration", {}).get("macro", {}).get("ece")
    said = "" if ece is None else f"; expected calibration error {ece:.3f} (macro mean, reliability.png)"
    parts = [f"{title}{said}\n{table}", threshold_table(report, intervals=section["intervals"])]
    return [*parts, subgroup_table(section["subgroups"])] if section.get("subgroups") else parts


def _grounding(classes: Mapping) -> str:
    """A line a class: the pointing game, and overlap of the map above half of its own maximum ("per-image")."""
    width = max(len("grounding"), *map(len, classes))
    lines = [f"{'grounding':<{width}}  cases  pointing cell (chance)  pixel (chance)    IoU   Dice"]
    for name, row in classes.items():
        first = next(p for p in row["protocols"] if p["protocol"] == "per-image")
        cells = [f"{first[f'pointing_{k}']:.3f} ({first[f'chance_{k}']:.3f})" for k in ("cell", "pixel")]
        overlap = f"{first['iou']:.3f}  {first['dice']:.3f}"
        lines.append(f"{name:<{width}}  {first['n_images']:>5}  {cells[0]:<22}  {cells[1]:<14}  {overlap}")
    lines.append("IoU, Dice: map above half of its own maximum; grounding.txt has every protocol.")
    return "\n".join(lines)
