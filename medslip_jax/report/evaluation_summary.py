"""What `medslip evaluate` prints of its result."""

from collections.abc import Mapping

from medslip_jax.metrics.classification import ORACLE
from medslip_jax.report.grounding_tables import grounding_summary
from medslip_jax.report.tables import classification_table, subgroup_table, threshold_table

_POINTING = {"cell": "arg-max cell", "pixel": "arg-max pixel", "pixel_stride_aligned": "arg-max pixel, aligned"}


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
    parts += [_pointing(group, row) for group, row in grounding.get("pooled", {}).items()]
    if grounding:
        parts.append(grounding_summary(grounding))
    return "\n\n".join(parts)


def _classification(section: Mapping, *, title: str) -> list[str]:
    report = section["report"]
    sources = report["macro"]["by_threshold_source"]
    best = next((source for source in ("validation", "fixed") if source in sources), ORACLE)
    table = classification_table(report, intervals=section["intervals"], threshold_source=best)
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


def _pointing(group: str, row: Mapping) -> str:
    """The pointing game of SPEC 7 (arg-max cell), and the stricter one on the upsampled map, each beside chance."""
    lines = [f"pointing game, {group} findings, {row['n_cases']} cases"]
    for key, name in _POINTING.items():
        if f"pointing_{key}" not in row["means"]:
            continue
        interval = row["intervals"][f"pointing_{key}"]
        low, high = (f"{interval[end]:.3f}" if interval[end] is not None else "-" for end in ("low", "high"))
        mean, chance = row["means"][f"pointing_{key}"], row["chance"][f"chance_{key.split('_')[0]}"]
        lines.append(f"  {name:<23} {mean:.3f} [{low}, {high}] (chance {chance:.3f})")
    return "\n".join(lines)
