"""The grounding section of the page on a run."""

from collections.abc import Mapping

from medslip_jax.report.html import folded, noted_table, paragraph
from medslip_jax.report.tables.grounding import class_table, detection_table, pooled_table, protocol_table, sections


def grounding(found: Mapping) -> str:
    """The section's body, from metrics.json's "grounding": the findings' boxes, and folded the other truths."""
    parts: list[str] = []
    for title, section in sections(found).items():
        about = f"{title}, {found['size']} x {found['size']} pixels"
        body = _section(section) if section["classes"] else ""
        parts.append(folded(about, body) if parts else paragraph(about) + body)
    return "".join(parts)


def _section(section: Mapping) -> str:
    """Pooled numbers and classes; every protocol and threshold folded, and not on paper."""
    parts = []
    for group, row in section["pooled"].items():
        parts += [paragraph(f"{group}: {', '.join(row['classes'])}"), noted_table(pooled_table(row))]
        parts.append(folded(f"{group}: located", noted_table(detection_table(row["detection"]))))
    every = []
    for name, row in section["classes"].items():
        every.append(paragraph(f"{name}: {row['n_images']} images"))
        every += map(noted_table, (protocol_table(row), detection_table(row["detection"])))
    parts.append(noted_table(class_table(section["classes"])))
    parts.append(folded("every class, protocol and threshold", "".join(every), paper="left out"))
    return "".join(parts)
