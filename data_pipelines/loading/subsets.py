"""Subsets of a split for learning from few labels: by patient, seeded, each larger one holding the smaller ones."""

import hashlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.loading.targets import Targets
from data_pipelines.records import Source
from medslip_jax.errors import InputError


class Subset:
    """Some rows of a source, in the source's order; picklable if the source is."""

    def __init__(self, source: Source, rows: Sequence[int]):
        self._source, self.rows = source, tuple(int(row) for row in rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self._source[self.rows[index]]


def known_images(source: Source, *, targets: Targets) -> dict[str, list]:
    """{"rows", "patients"} of the records whose truth is known (`Targets.known`), in the source's order."""
    found: dict[str, list] = {"rows": [], "patients": []}
    for row in range(len(source)):
        record = source[row]
        if targets.known(record):
            found["rows"].append(row)
            found["patients"].append(record["patient_id"])
    return found


def nested_rows(patients: Sequence[str], *, fraction: float, seed: int) -> list[int]:
    """Indices of about `fraction` of the images, whole patients, increasing.

    Patients are put in an order that depends on their name and the seed only, and taken until the fraction is reached:
    so 1 % lies within 10 %, and a patient's place does not depend on who else is there.

    Args:
      patients: of each image.
      fraction: in (0, 1].
      seed: another one, another order.

    Raises:
      InputError: a fraction out of range.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"data.fraction={fraction}: a share of the images above 0, at most 1")
    names, inverse, counts = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    order = np.argsort([hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names], kind="stable")
    reached = np.cumsum(counts[order])
    taken = order[: int(np.searchsorted(reached, max(1, round(fraction * len(patients))))) + 1]
    return np.flatnonzero(np.isin(inverse, taken)).tolist()
