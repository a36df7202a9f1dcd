"""What metrics.json and predictions.npz of an evaluation hold; each is replaced whole."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.evaluation.grounding_cases import attention_grids, grounding_cases
from medslip_jax.evaluation.judging import Task
from medslip_jax.evaluation.metrics.grounding import pointing_hits
from medslip_jax.evaluation.metrics.regions import cell_targets
from medslip_jax.evaluation.provenance import computed_with
from medslip_jax.evaluation.result_files import ids_hash
from medslip_jax.evaluation.scoring import PAIR_KEYS
from medslip_jax.storage.files import replacing_file
from medslip_jax.text.books import prompts_sha256
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES, pathology_index, pathology_prompts

_DATA_KEYS = ("image_id", "patient_id", "index", "labels", "pathology")
_EXTRA_KEYS = ("anatomy", "anatomy_map", *PAIR_KEYS, "target_names", "targets", "extra")


def header(task: Task, test: Mapping, validation: Mapping | None, *, checkpoint: str) -> dict:
    """Everything in metrics.json but the numbers: what was judged, how, and the hashes that tell two results apart."""
    p, info = task.protocol, task.pretrained.info
    source = info.get("source", {})
    known = {"kind": info["kind"]} | {key: source[key] for key in ("step", "hub") if key in source}
    if info.get("assumed"):  # what a bare state_dict does not show
        known["assumed"] = dict(info["assumed"])
    return {
        "checkpoint": {"path": checkpoint, "sha256": source.get("sha256"), **known},
        "data": {
            "name": p.data.name,
            "split": p.split,
            "images": len(test["image_id"]),
            "patients": len(np.unique(test["patient_id"])),
            "ids_sha256": ids_hash(test),
            "built_with": task.source.metadata,
        },
        "protocol": dataclasses.asdict(p),
        "class_map": dict(p.class_map),
        "thresholds": _thresholds(task, validation),
        "threshold_split": p.threshold_split if validation is not None else None,
        "preprocessing": dict(info["preprocessing"]),
        "books": dict(info.get("books", {})),
        **computed_with(dtype=task.pretrained.config.dtype),
        "seed": p.seed,
        "resamples": p.resamples,
    }


def _thresholds(task: Task, validation: Mapping | None) -> dict:
    """Where every threshold of the file comes from."""
    p = task.protocol
    sources: dict = {"test-oracle": "chosen on the judged labels themselves, so an upper bound"}
    if validation is not None:
        sources["validation"] = {
            "split": p.threshold_split,
            "images": len(validation["image_id"]),
            "ids_sha256": ids_hash(validation),
            "chosen": "the highest F1 of `score >= threshold`, a class each",
        }
    if p.threshold_source != "none":
        sources["fixed"] = {"threshold": p.fixed_threshold, "by_class": dict(p.fixed_thresholds)}
    return {"source": p.threshold_source, "decision": "score > threshold", "sources": sources}


def prompts(task: Task, names: Sequence[str]) -> dict:
    """The text of every judged pathology and query, and the hash of these texts.

    Args:
      task: its text tables say which prompts they were made from; `protocol.prompts` may name the file.
      names: the judged pathologies.

    Returns:
      {"sha256", "tables_sha256", "encoder", "texts": {name: sentence}}; a sentence is null where the tables were made
      from a file that is not given.

    Raises:
      InputError: a file of prompts that the tables were not made from.
    """
    p, books = task.protocol, task.pretrained.info.get("books", {})
    wrote = books.get("prompts_sha256")
    same = wrote == prompts_sha256(p.prompts or None)
    if p.prompts and not same:
        raise InputError(f"prompts={p.prompts}: the checkpoint's text tables were not made from this file")
    sentences = pathology_prompts(p.prompts or None) if same else [None] * len(PATHOLOGIES)
    texts = {name: sentences[pathology_index(name)] for name in names} | dict(task.texts)
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest() if None not in texts.values() else None
    return {"sha256": digest, "tables_sha256": wrote, "encoder": books.get("encoder"), "texts": texts}


def write_predictions(path: Path, test: Mapping, *, classes: Sequence[str]) -> None:
    """Identifiers, probabilities, labels and maps of every image; `numpy.load` reads it without pickle.

    Of grounding also a row a case, (image, marked class): "pointing_row" (row of the other arrays), "pointing_class"
    and "pointing_cell" (whether an arg-max cell of the map hits the truth), which `medslip compare` pairs.
    """
    arrays = {key: test[key] for key in _DATA_KEYS}
    arrays |= {"pathology_names": np.array(PATHOLOGIES), "anatomy_names": np.array(ANATOMIES)}
    arrays |= {key: test[key] for key in _EXTRA_KEYS if key in test}
    if classes:
        arrays |= {"map_names": np.array(classes), "pathology_map": test["pathology_map"]}
        arrays |= pointing_cases(test, classes=classes)
    with replacing_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def pointing_cases(test: Mapping, *, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """The three arrays of cases that `write_predictions` describes, class by class."""
    rows, names, hits = [], [], []
    for column, name in enumerate(classes):
        cases = grounding_cases(test, name)
        if not len(cases.index):
            continue
        maps = attention_grids(test["pathology_map"][cases.index, column])
        hits.append(pointing_hits(maps, targets=cell_targets(cases.targets, size=maps.shape[1:])))
        rows.append(cases.index)
        names.append(np.full(len(maps), name))
    if not rows:
        return {}
    columns: dict[str, list[np.ndarray]] = {"pointing_row": rows, "pointing_class": names, "pointing_cell": hits}
    return {key: np.concatenate(parts) for key, parts in columns.items()}
