"""What is in a built data set: counts over all records in one pass, none of whose images is decoded."""

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_pipelines import records
from data_pipelines.datasets.building.build import DROPS_FILE, NOTES_FILE
from data_pipelines.datasets.built import RecordSource, built_directory
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

VALUES = (1, 0, -1)  # present, absent, unknown or not mentioned: the order of the columns of counts


@dataclasses.dataclass(frozen=True)
class SplitContents:
    """Counts of a split's records.

    Attributes:
      records, patients, with_report, with_box, with_mask, with_anatomy: how many; boxes and masks are those of
        findings, and a mask has a box too; anatomy: one that is marked itself.
      labels: int (75, 3), records whose truth of a pathology is present, absent, unknown.
      mentions: int (75, 3), the same for the training matrix: present somewhere, else denied somewhere, else not there.
      places: int (51, 3), the same for anatomies.
      together: int (75, 75), records whose labels have both pathologies; the diagonal is `labels[:, 0]`.
      pairs: int (51, 75), records whose matrix has the pathology at the anatomy.
      targets: name -> (present, absent, unknown), of data sets that have targets.
    """

    records: int
    patients: int
    with_report: int
    with_box: int
    with_mask: int
    with_anatomy: int
    labels: np.ndarray
    mentions: np.ndarray
    places: np.ndarray
    together: np.ndarray
    pairs: np.ndarray
    targets: Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Contents:
    """A built data set: `info` is TFDS's dataset_info.json, `metadata` its options; the rest as `build` wrote it."""

    directory: Path
    info: Mapping
    metadata: Mapping
    drops: Sequence[Mapping]
    notes: Sequence[str]
    splits: Mapping[str, SplitContents]


def contents_of(path: str | Path) -> Contents:
    """Reads all records of a built data set, one in memory at a time.

    Raises:
      InputError: no data set there, or one that `medslip data build` did not make.
    """
    directory = built_directory(Path(path))
    if directory is None:
        raise InputError(f"{path}: no built data set there; give OUT/NAME of `medslip data build NAME --out OUT`")
    info = _json(directory / "dataset_info.json", {})
    names = [split["name"] for split in info.get("splits", [])]
    return Contents(
        directory=directory,
        info=info,
        metadata=_json(directory / "metadata.json", {}),
        drops=_json(directory / DROPS_FILE, []),
        notes=_json(directory / NOTES_FILE, []),
        splits={name: count(RecordSource(directory, name), name=name) for name in names},
    )


def count(source: records.Source, *, name: str = "") -> SplitContents:
    """Counts the records of one split, with a progress bar of that name in a terminal."""
    labels, mentions = (np.zeros((*records.LABELS_SHAPE, len(VALUES)), int) for _ in range(2))
    places = np.zeros((len(ANATOMIES), len(VALUES)), int)
    together = np.zeros((len(PATHOLOGIES), len(PATHOLOGIES)), int)
    pairs = np.zeros(records.MATRIX_SHAPE, int)
    patients: set[str] = set()
    some: collections.Counter[str] = collections.Counter()
    targets: dict[str, np.ndarray] = {}
    for number in tqdm(range(len(source)), desc=name, unit="record", disable=None, leave=False):
        record = source[number]
        matrix, truth = record["matrix"], record["labels"]
        for counts, values in ((labels, truth), (mentions, matrix.max(axis=0)), (places, matrix.max(axis=1))):
            counts += values[:, None] == VALUES
        present = np.flatnonzero(truth == 1)
        together[present[:, None], present] += 1
        pairs += matrix == 1
        patients.add(record["patient_id"])
        findings = [annotation for annotation in record["annotations"] if annotation["pathology"] >= 0]
        some.update(
            with_report=bool(record["report"]),
            with_box=bool(findings),
            with_mask=any(annotation["mask"] for annotation in findings),
            with_anatomy=len(findings) < len(record["annotations"]),
        )
        for target, value in record.get("targets", {}).items():
            targets[target] = targets.get(target, 0) + (np.array(VALUES) == value)
    return SplitContents(
        records=len(source),
        patients=len(patients),
        **{key: some[key] for key in ("with_report", "with_box", "with_mask", "with_anatomy")},
        labels=labels,
        mentions=mentions,
        places=places,
        together=together,
        pairs=pairs,
        targets={target: tuple(map(int, counts)) for target, counts in targets.items()},
    )


def by_kind(drops: Iterable[Mapping]) -> list[tuple[str, list[Mapping]]]:
    """What was left out, by kind, the most frequent first."""
    kinds: dict[str, list[Mapping]] = {}
    for drop in drops:
        kinds.setdefault(drop["kind"], []).append(drop)
    return sorted(kinds.items(), key=lambda item: -len(item[1]))


def _json(file: Path, default):
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); build the data again") from error
