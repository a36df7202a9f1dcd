"""What fine-tuning learns, taken from records: labels of classes, or masks of findings and anatomies (SPEC 7).

A target is written NAME or NAME=MEMBER+MEMBER...: "pneumonia", "lungs=left_lung_unspec+right_lung_unspec". Members are
pathologies, anatomies (masks only) or a data set's own targets (labels only, see `records`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np

from data_pipelines import images
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES, anatomy_index, pathology_index, side_swap

Kind = Literal["labels", "masks"]


@dataclasses.dataclass(frozen=True)
class Targets:
    """The K targets of a run.

    Attributes:
      kind: "labels" for classification, "masks" for segmentation.
      specs: as in the module's docstring, at least one, with distinct names.

    Raises:
      InputError: no target, a name twice, or a member that this kind cannot have.
    """

    kind: Kind
    specs: tuple[str, ...]

    def __post_init__(self):
        if not self.specs or len(set(self.names)) < len(self.names):
            raise InputError(f"targets={self.specs}: give at least one, each with a name of its own")
        for name, members in zip(self.names, self.members, strict=True):
            for member in members:
                if self.kind == "labels" and member in ANATOMIES:
                    raise InputError(f"target {name}: {member} is an anatomy, which has masks but no labels")
                if self.kind == "masks" and member not in (*PATHOLOGIES, *ANATOMIES):
                    raise InputError(f"target {name}: {member!r} is neither a pathology nor an anatomy")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.partition("=")[0] for spec in self.specs)

    @property
    def members(self) -> tuple[tuple[str, ...], ...]:
        """Of each target; one without "=" is its own."""
        return tuple(tuple((spec.partition("=")[2] or spec).split("+")) for spec in self.specs)

    def mirrored(self) -> tuple[int, ...] | None:
        """Which target each one is in the mirror image; None if one's mirror image is no target.

        >>> Targets("masks", ("left_lung_unspec", "right_lung_unspec", "mass")).mirrored()
        (1, 0, 2)
        """
        swap = {ANATOMIES[i]: ANATOMIES[j] for i, j in enumerate(side_swap())}
        sets = [frozenset(members) for members in self.members]
        flipped = [frozenset(swap.get(member, member) for member in members) for members in sets]
        return tuple(sets.index(f) for f in flipped) if all(f in sets for f in flipped) else None

    def labels(self, record: Mapping) -> np.ndarray:
        """Int8 (K,): 1 if a member is present, else 0 if one is absent, else -1.

        Raises:
          InputError: a member that the record knows nothing of, neither as a class nor as a target.
        """
        return np.array([max(_label(record, member) for member in members) for members in self.members], np.int8)

    def masks(self, record: Mapping) -> np.ndarray:
        """uint8 (K, H, W), 0 or 255, of the stored image's size: the union of the members' masks."""
        height, width = images.decode_grey(record["image"], name=record["image_id"]).shape
        out = np.zeros((len(self.specs), height, width), np.uint8)
        for row, members in enumerate(self.members):
            for annotation in _marks(record, members):
                mask = images.decode_grey(annotation["mask"], name=f"mask of {record['image_id']}")
                if mask.shape != (height, width):
                    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
                np.maximum(out[row], np.where(mask > 127, 255, 0).astype(np.uint8), out=out[row])
        return out

    def known(self, record: Mapping) -> bool:
        """Whether an image can be learned from: with labels, if one is known. With masks, if each target has one or,
        having no anatomy in it, is known to be absent; a finding that is present but not outlined is not known."""
        if self.kind == "labels":
            return bool((self.labels(record) >= 0).any())
        return all(_outlined(record, members) or _absent(record, members) for members in self.members)


def mask_to(mask: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """uint8 (H, W), 0 or 255, scaled: 255 where at least half of a pixel is covered."""
    if mask.shape == (height, width):
        return mask
    shrinks = height * width < mask.size
    scaled = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.where(scaled > 127, 255, 0).astype(np.uint8)


def _label(record: Mapping, member: str) -> int:
    if member in PATHOLOGIES:
        return int(record["labels"][pathology_index(member)])
    found = record.get("targets", {})
    if member not in found:
        known = f"; the data set has {', '.join(sorted(found))}" if found else ""
        raise InputError(f"record image_id={record['image_id']}: no class or target {member!r}{known}")
    return int(found[member])


def _marks(record: Mapping, members: Sequence[str]) -> list[Mapping]:
    """Annotations with a mask: of a finding, or of an anatomy alone."""
    wanted = [("pathology", pathology_index(m)) if m in PATHOLOGIES else ("anatomy", anatomy_index(m)) for m in members]
    return [
        a
        for a in record["annotations"]
        if a["mask"] and any(a[key] == i and (key == "pathology" or a["pathology"] == -1) for key, i in wanted)
    ]


def _outlined(record: Mapping, members: Sequence[str]) -> bool:
    """Whether every member that is there has a mask, and one at least is."""
    present = [m for m in members if m in PATHOLOGIES and record["labels"][pathology_index(m)] == 1]
    return bool(_marks(record, members)) and all(_marks(record, [m]) for m in present)


def _absent(record: Mapping, members: Sequence[str]) -> bool:
    return all(m in PATHOLOGIES and record["labels"][pathology_index(m)] == 0 for m in members)
