"""What a data set makes of its reports and views: options that are echoed into its metadata."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from data_pipelines.radgraph import Entity
from medslip_jax.errors import check_choices

Section = Literal["both", "findings", "impression"]
Uncertain = Literal["ignore", "present", "absent"]
EmptyText = Literal["drop", "keep"]
Lateral = Literal["drop", "keep"]

# What RadGraph's OBS-U becomes.
_COUNTED_AS = {"present": "OBS-DP", "absent": "OBS-DA"}


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


def with_uncertain(entities: Mapping[str, Entity], uncertain: Uncertain) -> Mapping[str, Entity]:
    """Entities of a study, whose uncertain observations count as `uncertain` says."""
    if uncertain == "ignore":
        return entities
    label = _COUNTED_AS[uncertain]
    return {key: e._replace(label=label) if e.label == "OBS-U" else e for key, e in entities.items()}
