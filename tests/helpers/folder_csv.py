"""What the tests of the folder data set share: a CSV with images, its options, and readable labels."""

import csv
from pathlib import Path

import numpy as np

from data_pipelines import images
from data_pipelines.datasets.folder import storing_of, xray_of
from data_pipelines.datasets.folder_options import FolderOptions
from data_pipelines.datasets.folder_rows import Row, read_rows
from data_pipelines.datasets.shared.xray import XRay, xray_record
from data_pipelines.reports.policy import TextPolicy
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

HEADER = ("file", "text", "findings", "split", "patient", "boxes", "masks", "view", "origin")
OPTIONS = {
    "columns": {
        "image": "file",
        "report": "text",
        "labels": "findings",
        "split": "split",
        "patient": "patient",
        "boxes": "boxes",
        "masks": "masks",
        "view": "view",
    },
    "label_map": {"Infiltration": "infiltrate", "Opacities": ["opacity", "pneumonia"]},
    "ignored_labels": ["Left Lung"],
    "annotated_everywhere": [{"where": {"origin": "NIH"}, "classes": ["Effusion", "Infiltration", "nodule"]}],
    "size": 64,
}


def make_options(**changes) -> FolderOptions:
    return FolderOptions(**(OPTIONS | changes))


def write(root: Path, rows: list[dict], header=HEADER) -> Path:
    """A CSV with those rows, every image a 80 x 100 ramp that differs a little from the next."""
    path = root / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(
            [{"split": "train", "findings": "Effusion", "patient": f"p{i}"} | row for i, row in enumerate(rows)]
        )
    for number, row in enumerate(rows):
        ramp = np.tile(np.arange(100, dtype=np.uint8) + number, (80, 1))
        if row["file"] and not (root / row["file"]).exists():
            (root / row["file"]).write_bytes(images.encode_grey(ramp, kind="png"))
    return path


def rows_of(root: Path, rows: list[dict], **changes):
    return read_rows(write(root, rows), make_options(**changes))


def xrays_of(root: Path, rows: list[dict]) -> list[XRay]:
    return [xray_of(row, make_options()) for row in rows_of(root, rows)]


def row_record(row: Row, *, root: Path, options: FolderOptions) -> dict:
    """One row as a record, or the error that one of its files leads to."""
    storing = storing_of(options)
    image = images.read_grey(root / row.image, policy=storing.policy)
    return xray_record(xray_of(row, options), image, root=root, storing=storing, text=TextPolicy(**options.text))


def named(vector: np.ndarray) -> dict:
    return {PATHOLOGIES[i]: int(vector[i]) for i in np.flatnonzero(vector >= 0)}


def entries(matrix: np.ndarray) -> dict:
    return {(ANATOMIES[a], PATHOLOGIES[p]): int(matrix[a, p]) for a, p in zip(*np.nonzero(matrix >= 0), strict=True)}
