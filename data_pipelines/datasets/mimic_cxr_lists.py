"""MIMIC-CXR's lists -> jobs and drops: the official split, views, and RadGraph's matrices. No image is opened.

A job is small, as there are 377,110 of them: its file says patient, study and image, its payload is the study's
compressed matrix, one object for all images of the study.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_pipelines import records
from data_pipelines.datasets.building.plan import Drop, Job
from data_pipelines.datasets.shared.listings import read_columns
from data_pipelines.datasets.shared.xray import compressed
from data_pipelines.radgraph import Skipped, fill_study, iter_entities, study_id
from data_pipelines.reports import Uncertain, with_uncertain
from medslip_jax.errors import InputError

SPLIT_NAMES = {"train": "train", "validate": "validation", "test": "test"}
FRONTAL = ("PA", "AP")
# The matrix of a study of which nothing is known.
UNKNOWN = compressed(np.full(records.MATRIX_SHAPE, -1, np.int8))
_LATERAL = ("LATERAL", "LL", "XTABLE LATERAL")
_IDS = (re.compile(r"[0-9A-Za-z]+(?:-[0-9A-Za-z]+)*"), re.compile(r"[0-9]+"), re.compile(r"[0-9]{2,}"))


@dataclasses.dataclass(frozen=True)
class Listed:
    """split -> jobs in the order of the list, and the rows that are left out."""

    jobs: dict[str, list[Job]]
    drops: list[Drop]


def read_split(
    path: Path,
    *,
    views: Mapping[str, str] | None,
    matrices: Mapping[str, bytes] | None,
    without_matrix: str,
    unusable: Mapping[str, str],
) -> Listed:
    """Sorts the rows of mimic-cxr-2.0.0-split.csv.gz.

    Left out are: "duplicate id", "patient in two splits" (the first row of a patient decides), "unknown view", "lateral
    view", "other view", "no RadGraph entry", "unusable RadGraph
    entry".

    Args:
      path: the list.
      views: dicom_id -> ViewPosition, of which only frontal ones stay; None keeps all.
      matrices: study id -> matrix, see `study_matrices`; None leaves payloads empty.
      without_matrix: "drop" a study that is not in `matrices`, or "keep" it with the matrix `UNKNOWN`.
      unusable: study key -> why its RadGraph entry cannot be read.

    Raises:
      InputError: as `read_columns`, or a row with an unknown split or impossible id.
    """
    listed = Listed({split: [] for split in SPLIT_NAMES.values()}, [])
    seen: dict[str, int] = {}
    patients: dict[str, tuple[str, int]] = {}
    reasons = {study_id(key): reason for key, reason in unusable.items()}
    for row, (dicom, study, patient, split) in read_columns(path, ("dicom_id", "study_id", "subject_id", "split")):
        _check(path, row, (dicom, study, patient), split)
        file, split = f"files/p{patient[:2]}/p{patient}/s{study}/{dicom}.jpg", SPLIT_NAMES[split]
        first_row = seen.setdefault(dicom, row)
        first_split, first_patient_row = patients.setdefault(patient, (split, row))
        problem: tuple[str, str] | None
        if first_row != row:
            problem = "duplicate id", f"dicom_id {dicom} is in row {first_row} already"
        elif first_split != split:
            problem = "patient in two splits", f"patient {patient} is in {first_split} (row {first_patient_row})"
        else:
            problem = _view_problem(dicom, views) or _matrix_problem(study, matrices, without_matrix, reasons)
        if problem:
            listed.drops.append(Drop(row, file, *problem, split=split))
        else:
            listed.jobs[split].append(Job(row, file, split, b"" if matrices is None else matrices.get(study, UNKNOWN)))
    return listed


def read_views(path: Path) -> dict[str, str]:
    """dicom_id -> ViewPosition ("" where it is not stated) of mimic-cxr-2.0.0-metadata.csv.gz."""
    spellings: dict[str, str] = {}
    return {
        dicom: spellings.setdefault(view, view) for _, (dicom, view) in read_columns(path, ("dicom_id", "ViewPosition"))
    }


def study_matrices(path: Path, *, uncertain: Uncertain, skipped: Skipped | None = None) -> dict[str, bytes]:
    """study id -> `compressed` matrix of a RadGraph file, read study by study; one without entities is left out.

    Args:
      path: the file.
      uncertain: see `reports.with_uncertain`.
      skipped: collects what cannot be used; without it that is a warning.

    Raises:
      InputError: as `radgraph.stream.iter_label_matrices`.
    """
    found: dict[str, bytes] = {}
    for name, entities in iter_entities(path, skipped=skipped):
        matrix = np.full(records.MATRIX_SHAPE, -1, np.int8)
        fill_study(matrix, with_uncertain(entities, uncertain))
        found[name] = compressed(matrix)
    return found


def _check(path: Path, row: int, ids: tuple[str, str, str], split: str) -> None:
    if split not in SPLIT_NAMES:
        raise InputError(f"{path}: row {row}: split {split!r} is none of {', '.join(SPLIT_NAMES)}")
    for name, pattern, value in zip(("dicom_id", "study_id", "subject_id"), _IDS, ids, strict=True):
        if not pattern.fullmatch(value):
            raise InputError(f"{path}: row {row}: {name} is {value!r}, which cannot be one; download the list again")


def _view_problem(dicom: str, views: Mapping[str, str] | None) -> tuple[str, str] | None:
    if views is None or views.get(dicom) in FRONTAL:
        return None
    view = views.get(dicom)
    if not view:
        return "unknown view", "not in the metadata" if view is None else "no ViewPosition in the metadata"
    return "lateral view" if view in _LATERAL else "other view", f"ViewPosition {view}"


def _matrix_problem(
    study: str, matrices: Mapping[str, bytes] | None, without_matrix: str, unusable: Mapping[str, str]
) -> tuple[str, str] | None:
    if matrices is None or without_matrix == "keep" or study in matrices:
        return None
    if study in unusable:
        return "unusable RadGraph entry", unusable[study]
    return "no RadGraph entry", f"study {study} has no entities in the RadGraph file"
