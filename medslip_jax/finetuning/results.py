"""The best model of a fine-tuning run on the test split, once: WORKDIR/test."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medslip_jax.checkpoints import Best, read_config, read_variables
from medslip_jax.evaluation.provenance import computed_with
from medslip_jax.evaluation.result_files import round_numbers, write_metrics
from medslip_jax.experiment.sections import FineTuning
from medslip_jax.experiment.trees import read_as, tree_of
from medslip_jax.finetuning.data import Split, known_split
from medslip_jax.finetuning.judge import Judge, classification_result, segmentation_result
from medslip_jax.finetuning.start import make_tuner
from medslip_jax.models.folding import fold
from medslip_jax.parallel import processes, sharding
from medslip_jax.storage.files import replacing_file, tree_hash
from medslip_jax.training.setup import run_mesh


def test_once(config: ConfigDict, workdir: str | Path, *, resamples: int = 1000) -> dict:
    """The best model on the test split. Results that are there already, of this model and so many resamples, stay.

    Args:
      config: of the run.
      workdir: of a run that has ended.
      resamples: of the patient-level bootstrap.

    Returns:
      What metrics.json holds.
    """
    experiment, workdir = read_as(config, FineTuning), Path(workdir)
    task, data = experiment.task, experiment.data
    best, out = Best(workdir, config=tree_of(experiment), metric=experiment.eval.metric), workdir / "test"
    digest = tree_hash(best.directory / "model")
    if known := _known_result(out, digest=digest, resamples=resamples):
        return known
    processes.barrier("look for results")  # before process 0 writes what another would find
    mesh = run_mesh(experiment)
    everywhere = sharding.replicated(mesh)
    variables = jax.device_put(fold(read_variables(best.directory, sharding=everywhere)), everywhere)
    tuner = make_tuner(experiment, num_images=1)
    splits = {name: known_split(data, name, targets=task.wanted) for name in ("test", "validation")}
    # A segmentation threshold is fixed, so only classification asks validation for one.
    wanted = splits if task.kind == "classifier" else {"test": splits["test"]}
    judges = {name: Judge(experiment, tuner=tuner, split=split, mesh=mesh) for name, split in wanted.items()}
    rows = {name: judge.rows(variables) for name, judge in judges.items()}
    header = _header(experiment, best, digest=digest, split=splits["test"], rows=rows["test"])
    if task.kind == "classifier":
        names = task.wanted.names
        numbers = classification_result(rows["test"], rows["validation"], names=names, resamples=resamples)
    else:
        numbers = segmentation_result(rows["test"], task=task, resamples=resamples, size=data.image_size)
    result = header | {"resamples": resamples} | round_numbers(numbers)
    if jax.process_index() == 0:
        out.mkdir(parents=True, exist_ok=True)
        # Last what a later call takes as a sign that all is there.
        write_predictions(out / "predictions.npz", rows["test"], names=task.wanted.names)
        result = write_metrics(out, result)
    return result


def _known_result(out: Path, *, digest: str, resamples: int) -> dict | None:
    """The results in `out` if they are of the model with this digest, with intervals from so many resamples."""
    file = out / "metrics.json"
    result = json.loads(file.read_bytes()) if file.is_file() else None
    same = result and result["checkpoint"]["sha256"] == digest and result.get("resamples") == resamples
    return result if same else None


def _header(experiment: FineTuning, best: Best, *, digest: str, split: Split, rows: Mapping) -> dict:
    """What was judged and where it comes from."""
    task, data, run = experiment.task, experiment.data, experiment.run
    return {
        "checkpoint": {"path": str(best.directory), "sha256": digest, "kind": task.kind, **best.known},
        "data": {"name": data.name, "split": "test", **split.describe(rows), "built_with": split.metadata},
        "training": {
            "init_from": run.init_from,
            "tune": task.tune,
            "seed": run.seed,
            "train_images": read_config(best.directory)["data"]["train_images"],
            "fraction": data.fraction,
            "subset_seed": data.subset_seed,
            "image_size": data.image_size,
        },
        "targets": list(task.targets),
        "threshold_split": "validation" if task.kind == "classifier" else None,
        "preprocessing": {"image_size": data.image_size},
        **computed_with(dtype=experiment.model.dtype),
    }


def write_predictions(path: Path, rows: Mapping[str, np.ndarray], *, names: tuple[str, ...]) -> None:
    """For `medslip compare`, under its names; of a U-Net the areas."""
    arrays: dict[str, Any] = {key: rows[key] for key in ("image_id", "patient_id", "index")}
    arrays |= {"pathology_names": np.array(names)}
    if "probability" in rows:
        arrays |= {"pathology": rows["probability"], "labels": rows["labels"]}
    else:
        arrays |= {key: rows[key] for key in ("intersection", "said", "true")}
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
