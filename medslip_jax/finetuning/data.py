"""The images of a fine-tuning run whose truth is known."""

import dataclasses
from collections.abc import Mapping

from data_pipelines.datasets import open_split
from data_pipelines.loading import Subset, Targets, known_images, nested_rows
from medslip_jax.errors import InputError
from medslip_jax.evaluation.result_files import ids_hash
from medslip_jax.experiment.sections import FineTuningData
from medslip_jax.experiment.tables import built_data
from medslip_jax.training.setup import evenly_spaced


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split whose truth is known, how many there are in all, and how the data set was built."""

    records: Subset
    patients: tuple[str, ...]
    of: int
    metadata: Mapping

    def __len__(self) -> int:
        return len(self.records)

    def describe(self, rows: Mapping | None = None) -> dict:
        """Counts and, with rows, the hash of the image ids."""
        known = {"images": len(self), "patients": len(set(self.patients)), "left_out_unknown": self.of - len(self)}
        return known | ({"ids_sha256": ids_hash(rows)} if rows is not None else {})


def known_split(data: FineTuningData, name: str, *, targets: Targets, fraction: float = 1.0, at_most: int = 0) -> Split:
    """Images of a split that can be learned from or judged.

    Args:
      data: dir, name and subset_seed are read here.
      name: of the split.
      targets: what has to be known of an image.
      fraction: share of them, by patient (`subsets.nested_rows`).
      at_most: so many of them, evenly spaced; 0 for all.

    Raises:
      InputError: no such data, or no image with a known truth.
    """
    source = open_split(built_data(data.name, data.dir), data.name, name)
    known = known_images(source, targets=targets)
    rows, patients = known["rows"], known["patients"]
    if not rows:
        wanted = ", ".join(targets.names)
        raise InputError(f"data.name={data.name}: no image of {name} has known {targets.kind} of {wanted}")
    chosen = nested_rows(patients, fraction=fraction, seed=data.subset_seed)
    chosen = [chosen[i] for i in evenly_spaced(chosen, at_most=at_most)]
    records = Subset(source, [rows[i] for i in chosen])
    return Split(records, tuple(patients[i] for i in chosen), of=len(source), metadata=source.metadata)
