"""TFDS builder of a CSV file and a folder of images; `folder_options.FolderOptions` says what may vary."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_pipelines import images, radgraph, records, reports
from data_pipelines.datasets.folder_options import POLICIES, SPLITS, FolderOptions
from data_pipelines.datasets.folder_rows import Row, read_rows
from data_pipelines.datasets.workers import in_order
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index

# From here a pixel of a mask belongs to it: a mask saved as JPEG or scaled has grey values around its edges.
_MASK_LEVEL = 128


class Folder(tfds.core.GeneratorBasedBuilder):
    """Real X-rays from a CSV file.

    After the build `drops` lists what was left out, {"row", "file", "reason"}, and `notes` holds one line for each
    way in which the splits may not be independent: no patients to split by, the same file in two splits.

    Args:
      root: directory that the CSV file and the image paths are relative to.
      options: what the CSV holds.
      policy: "skip" drops a row whose image or mask cannot be read and lists it; "fail" raises instead.
      workers: processes that read images, 1 for none beside this one; the result does not depend on it.
    """

    name = "folder"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        root: str | Path,
        options: FolderOptions | None = None,
        policy: str = "fail",
        workers: int = 2,
        **kwargs,
    ):
        if policy not in POLICIES:
            raise InputError(f"policy={policy!r}: one of {', '.join(POLICIES)}")
        if workers < 1:
            raise InputError(f"folder workers={workers}: expected at least 1")
        self._root, self._options = Path(root), options or FolderOptions()
        self._policy, self._workers = policy, workers
        self.drops: list[dict] = []
        self.notes: list[str] = []
        self._first_seen: dict[str, Row] = {}
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"X-rays of {self._options.csv}. {self._options.notes}".strip(),
            features=records.features(),
            metadata=tfds.core.MetadataDict(dataclasses.asdict(self._options)),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        columns, shares = self._options.columns, self._options.split_fractions.values()
        if "split" not in columns and "patient" not in columns and max(shares) < 1:
            self.notes.append(
                f"{self._options.csv}: the splits are drawn by image, as `columns` names no 'patient': "
                "images of one patient may be in two splits"
            )
        rows = collections.defaultdict(list)
        for row in read_rows(self._root / self._options.csv, self._options):
            if self._options.views and row.view not in self._options.views:
                self._drop(row, f"view {row.view!r} is not in views")
            else:
                rows[row.split].append(row)
        return {split: self._generate_examples(split, rows[split]) for split in SPLITS if rows[split]}

    def _generate_examples(self, split: str, rows: list[Row]) -> Iterator[tuple[int, dict]]:
        csv, dropped = self._root / self._options.csv, []
        read = in_order(
            functools.partial(_read_row, root=self._root, options=self._options), rows, workers=self._workers
        )
        for row, found in zip(rows, tqdm(read, total=len(rows), desc=f"folder {split}", disable=None), strict=True):
            if "reason" not in found:
                self._note_copy(row, found["sha256"])
                yield row.number, found["record"]
            elif self._policy == "fail":
                raise InputError(f"{csv}: row {row.number}: {found['reason']}; repair it or build with policy skip")
            else:
                self._drop(row, found["reason"])
                dropped.append(found["reason"])
        if len(dropped) == len(rows):
            raise InputError(f"{csv}: split {split}: all {len(rows)} rows were dropped, the first: {dropped[0]}")

    def _drop(self, row: Row, reason: str) -> None:
        self.drops.append({"row": row.number, "file": row.image, "reason": reason})

    def _note_copy(self, row: Row, digest: str) -> None:
        first = self._first_seen.setdefault(digest, row)
        if first.split != row.split:
            self.notes.append(
                f"{self._options.csv}: row {row.number}: {row.image} in {row.split} is the same file as {first.image} "
                f"in {first.split} (row {first.number})"
            )


def row_record(row: Row, *, root: Path, options: FolderOptions) -> dict:
    """One row as a record (see `data_pipelines.records`).

    Raises:
      InputError: the image or a mask cannot be read, the image is a strip, a mask has another size than the
        image or no clear values, a box lies outside it.
    """
    image = images.read_grey(root / row.image, sixteen_bit=options.sixteen_bit)
    small = images.resize_short_side(image, options.size)
    annotations = [*_boxes(row, image.shape, options), *_masks(row, root, image.shape, small.shape, options)]
    return {
        "image": images.encode_grey(small, kind=options.image_format),
        "image_id": row.image,
        "patient_id": row.patient,
        "report": row.report,
        "matrix": matrix_of(row, annotations),
        "labels": labels_of(row, annotations),
        "annotations": annotations,
    }


def matrix_of(row: Row, annotations: list[dict]) -> np.ndarray:
    """Int8 (51, 75) for training: what the report says and, at anatomy "unspecified", what labels, boxes and masks
    say of a class that the report does not mention anywhere.

    If they say present, they also beat a report that only denies the class: "no effusion on the left" is no word
    on the right, and a class that `labels_of` calls present must have a place to learn it from.
    """
    matrix = report_matrix(row.report)
    stated = _stated(row, annotations)
    in_report = matrix.max(axis=0)
    fill = (in_report == -1) | ((in_report == 0) & (stated == 1))
    matrix[anatomy_index("unspecified"), fill] = stated[fill]
    return matrix


def labels_of(row: Row, annotations: list[dict]) -> np.ndarray:
    """Int8 (75,) for evaluation: the labels where the row has any, else what the report says; a class with a
    box or a mask is present. Report and labels are not mixed, so that a truth of labels stays free of
    extraction errors."""
    stated = _stated(row, annotations)
    return stated if row.has_labels else np.where(stated == 1, stated, report_matrix(row.report).max(axis=0))


def report_matrix(report: str) -> np.ndarray:
    """Report text -> int8 (51, 75), all -1 for an empty one."""
    _, matrices = radgraph.label_matrices({"report": reports.extract(report)} if report else {})
    return matrices[0].copy() if len(matrices) else np.full(records.MATRIX_SHAPE, -1, np.int8)


def _stated(row: Row, annotations: list[dict]) -> np.ndarray:
    """Int8 (75,): what labels, boxes and masks say; presence beats absence."""
    stated = np.full(records.LABELS_SHAPE, -1, np.int8)
    stated[list(row.annotated)] = 0
    stated[[*row.present, *(annotation["pathology"] for annotation in annotations)]] = 1
    return stated


def _boxes(row: Row, shape: tuple[int, int], options: FolderOptions) -> Iterator[dict]:
    sides = np.array([shape[1], shape[0]] * 2, float)
    for entry in row.boxes:
        corners = np.array([entry["x"], entry["y"], entry["x"] + entry["w"], entry["y"] + entry["h"]])
        box = (corners / sides).clip(0, 1).astype(np.float32)
        if not (box[:2] < box[2:]).all():
            raise InputError(f"box {entry!r} lies outside the image of {shape[1]} x {shape[0]} pixels")
        yield from _annotations(entry["label"], box, b"", options)


def _masks(
    row: Row, root: Path, shape: tuple[int, int], stored: tuple[int, int], options: FolderOptions
) -> Iterator[dict]:
    for entry in row.masks:
        mask = images.read_grey(root / entry["file"])
        if mask.shape != shape:
            raise InputError(f"{root / entry['file']}: mask of shape {mask.shape}, its image has {shape}")
        if 0 < mask.max() < _MASK_LEVEL:
            raise InputError(f"{root / entry['file']}: mask values end at {mask.max()}; expected 0 and 255")
        rows, columns = (np.flatnonzero((mask >= _MASK_LEVEL).any(axis=axis)) for axis in (1, 0))
        if not rows.size:  # an organ or finding that the annotator looked for and did not see
            continue
        edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / np.array([shape[1], shape[0]] * 2)
        small = cv2.resize(mask, stored[::-1], interpolation=cv2.INTER_NEAREST)
        png = images.encode_grey(np.where(small >= _MASK_LEVEL, 255, 0).astype(np.uint8), kind="png")
        yield from _annotations(entry["label"], edges.astype(np.float32), png, options)


def _annotations(label: str, box: np.ndarray, mask: bytes, options: FolderOptions) -> Iterator[dict]:
    for pathology in options.classes_of(label):
        yield {"pathology": pathology, "anatomy": -1, "box": box, "mask": mask}


def _read_row(row: Row, *, root: Path, options: FolderOptions) -> dict:
    """{"record": encoded, "sha256": of the image file}, or {"reason": why this row cannot be used}.

    Nothing that one image can cause is raised: with policy "skip" the build goes on, and "fail" names the row.
    """
    try:
        record = records.encode(row_record(row, root=root, options=options))
        return {"record": record, "sha256": hashlib.sha256(images.read_bytes(root / row.image)).hexdigest()}
    except InputError as error:
        return {"reason": str(error)}
    except (cv2.error, MemoryError, ValueError) as error:
        said = " ".join(str(error).split()) or "no message"
        return {"reason": f"{root / row.image}: {type(error).__name__}: {said}"}
