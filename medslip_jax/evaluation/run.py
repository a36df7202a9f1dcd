"""An evaluation, from a model and a protocol to numbers on disk."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from medslip_jax.evaluation import grounding, zero_shot
from medslip_jax.evaluation.judging import Task, open_model, open_task, score_splits, where_it_is
from medslip_jax.evaluation.protocol import Protocol, read_protocol
from medslip_jax.evaluation.result_files import round_numbers, write_metrics
from medslip_jax.evaluation.results import header, prompts, write_predictions
from medslip_jax.storage.files import made_directory


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What metrics.json holds, the scores of the judged split as of `zero_shot.identify`, what was judged and how."""

    metrics: Mapping
    scores: Mapping
    task: Task


def evaluate(
    checkpoint: str | Path,
    protocol: ConfigDict | None = None,
    *,
    out: str | Path,
    books: str | Path | None = None,
) -> Evaluation:
    """Judges a model by a protocol and writes metrics.json and predictions.npz below `out`, each replaced whole.

    Args:
      checkpoint: whatever `weights.load` reads: a run, a checkpoint, published weights, a .pth file, a hub id.
      protocol: see `protocol.Protocol`; its defaults without one.
      out: directory of the results.
      books: text tables, where the checkpoint has none.

    Raises:
      InputError: model, protocol or data cannot be used, or nothing can be written.
    """
    asked = Protocol() if protocol is None else read_protocol(protocol)
    task = open_task(open_model(checkpoint, books=books), asked)
    out = made_directory(out, flag="--out")
    test, validation = score_splits(task)
    judged = zero_shot.classify(test, validation=validation, judging=task.judging)
    names = list(judged["pathology"]["report"]["classes"]) if "pathology" in judged else []
    metrics = header(task, test, validation, checkpoint=where_it_is(checkpoint))
    metrics |= {"prompts": prompts(task, names), "classification": round_numbers(judged)}
    if task.map_classes or task.map_anatomies:
        p = task.protocol
        found = grounding.ground(
            test,
            validation=validation,
            classes=task.map_classes,
            anatomies=task.map_anatomies,
            focal=p.grounding.focal,
            resamples=p.resamples,
            seed=p.seed,
        )
        metrics["grounding"] = round_numbers(found)
    write_predictions(out / "predictions.npz", test, classes=task.map_classes)
    return Evaluation(write_metrics(out, metrics), test, task)
