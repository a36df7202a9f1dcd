"""TFDS builder of the chest phantom: the data set that needs no download."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from data_pipelines import images, phantom, radgraph, records
from data_pipelines.datasets.building.plan import SPLITS, Job, Made, Plan
from data_pipelines.datasets.building.planned import PlannedBuilder
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index, pathology_index

# Phantom i of split s has seed s * SEED_STRIDE + i, so no two splits share one whatever their sizes.
SEED_STRIDE = 10_000_000


@dataclasses.dataclass(frozen=True)
class PhantomOptions:
    """How many phantoms a split has, and how they are stored.

    Attributes:
      train, validation, test: phantoms of each split, 1 .. 10,000,000.
      size: side of the images in pixels.
      image_format: "jpeg" (quality 95) or "png" (lossless, larger).
    """

    train: int = 6000
    validation: int = 500
    test: int = 1000
    size: int = 256
    image_format: str = "jpeg"

    def __post_init__(self):
        for name in (*SPLITS, "size"):
            if type(getattr(self, name)) is not int:
                raise InputError(f"phantom {name}={getattr(self, name)!r}: expected a whole number")
        for split in SPLITS:
            if not 1 <= getattr(self, split) <= SEED_STRIDE:
                raise InputError(f"phantom {split}={getattr(self, split)}: expected 1 .. {SEED_STRIDE}")
        if self.size < 64:
            raise InputError(f"phantom size={self.size}: expected at least 64 pixels")
        if self.image_format not in ("jpeg", "png"):
            raise InputError(f"phantom image_format={self.image_format!r}: expected 'jpeg' or 'png'")


class Phantom(PlannedBuilder):
    """Phantoms: the triplets of the report are the training matrix, what is drawn is the evaluation truth."""

    name = "phantom"
    OPTIONS = PhantomOptions

    @staticmethod
    def plan(*, options: PhantomOptions | None = None) -> Plan:
        """The phantoms of every split; nothing is read from disk."""
        options = options or PhantomOptions()
        return Plan(
            jobs={
                split: [
                    Job(row=row, file=f"phantom-{split}-{seed}", split=split, payload=seed)
                    for row, seed in enumerate(split_seeds(split, getattr(options, split)))
                ]
                for split in SPLITS
            },
            encode=functools.partial(_encoded, options=options),
            description="Procedural frontal chest X-rays with reports, label matrices, boxes and masks.",
            metadata=dataclasses.asdict(options),
            listing=Path("phantom"),
            policy="fail",
        )


def split_seeds(split: str, count: int) -> range:
    """The seeds of a split's first `count` phantoms; disjoint between splits."""
    start = SPLITS.index(split) * SEED_STRIDE
    return range(start, start + count)


def phantom_record(seed: int, *, split: str, options: PhantomOptions) -> dict:
    """One phantom as a record (see `data_pipelines.records`); a pure function of its arguments.

    The matrix holds what the report says; labels hold what is drawn, mentioned or not: 1 drawn, 0 one of the
    other pathologies that phantoms can show, -1 a pathology that they never show. Annotations are the findings, then
    the regions (lungs, zones, heart) that can be seen, with pathology -1.
    """
    drawn = phantom.draw(seed, size=options.size)
    labels = np.full(records.LABELS_SHAPE, -1, np.int8)
    labels[[pathology_index(name) for name in phantom.PATHOLOGIES_DRAWN]] = 0
    labels[[pathology_index(finding.pathology) for finding in drawn.findings]] = 1
    return {
        "image": images.encode_grey(drawn.image, kind=options.image_format),
        "image_id": f"phantom-{split}-{seed}",
        "patient_id": f"phantom-{seed}",
        "report": drawn.report,
        "matrix": radgraph.triplets_matrix(drawn.triplets),
        "labels": labels,
        "annotations": [
            *(
                _annotation(finding.mask, anatomy=finding.anatomy, pathology=pathology_index(finding.pathology))
                for finding in drawn.findings
            ),
            *(_annotation(mask, anatomy=anatomy) for anatomy, mask in drawn.regions.items() if mask.any()),
        ],
    }


def _annotation(mask: np.ndarray, *, anatomy: str, pathology: int = -1) -> dict:
    return {
        "pathology": pathology,
        "anatomy": anatomy_index(anatomy),
        "box": np.asarray(phantom.bounds(mask), np.float32),
        "mask": images.encode_grey(mask.astype(np.uint8) * 255, kind="mask"),
    }


def _encoded(job: Job, *, options: PhantomOptions) -> Made:
    record = phantom_record(job.payload, split=job.split, options=options)
    return Made(record=records.encode(record), labels=records.present(record))
