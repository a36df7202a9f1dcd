"""What a data set makes of its reports and views: options that are echoed into its metadata."""

import copy
import dataclasses
import re
from typing import Literal

from medslip_jax.errors import check_choices

Section = Literal["both", "findings", "impression"]
Uncertain = Literal["ignore", "present", "absent"]
EmptyText = Literal["drop", "keep"]
Lateral = Literal["drop", "keep"]

# The sections that describe the image, by the header that begins them; another header ends them.
_HEADER = re.compile(r"^[ \t]*([A-Z][A-Za-z /&()-]{1,40}):", re.MULTILINE)
_NAMES = {"findings": {"finding", "findings"}, "impression": {"impression", "impressions", "conclusion"}}
# "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION"
_BETWEEN_NAMES = re.compile(r"\s*(?:/|&|\band\b)\s*")
# What RadGraph's OBS-U becomes.
COUNTED_AS = {"present": "OBS-DP", "absent": "OBS-DA"}


@dataclasses.dataclass(frozen=True)
class TextPolicy:
    """How reports and views are used.

    Attributes:
      section: the part of a report that is read: "findings", "impression" or "both".
      empty_text: an image whose report has no such part is dropped, or kept with an empty matrix.
      uncertain: what "possible effusion" (RadGraph's OBS-U) sets in the matrix: nothing, as released (SPEC 6),
        present or absent.
      lateral: images of other than frontal views are dropped, or kept.
    """

    section: Section = "both"
    empty_text: EmptyText = "drop"
    uncertain: Uncertain = "ignore"
    lateral: Lateral = "drop"

    def __post_init__(self):
        check_choices(self, section="text")


def select_section(report: str, section: Section) -> str:
    """The text of one section of a report with headers, without its header; "" if it has none. "both" is all of it.

    What stands under "FINDINGS AND IMPRESSION" is of either section.

    >>> select_section("FINDINGS: Clear lungs.\\nIMPRESSION: Normal.", "impression")
    'Normal.'
    """
    if section == "both":
        return report
    headers = [*_HEADER.finditer(report)]
    ends = [*(match.start() for match in headers[1:]), len(report)][: len(headers)]
    parts = [
        report[match.end() : end].strip()
        for match, end in zip(headers, ends, strict=True)
        if not _NAMES[section].isdisjoint(_BETWEEN_NAMES.split(match[1].strip().lower()))
    ]
    return "\n".join(parts)


def with_uncertain(entry: dict, uncertain: Uncertain) -> dict:
    """What `reports.extract` gives, its uncertain observations counted as `uncertain` says; `entry` is not changed."""
    if uncertain == "ignore":
        return entry
    entry = copy.deepcopy(entry)
    for entity in entry["entities"].values():
        if entity["label"] == "OBS-U":
            entity["label"] = COUNTED_AS[uncertain]
    return entry
