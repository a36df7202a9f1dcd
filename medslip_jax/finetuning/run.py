"""A fine-tuning run, from a config to the best model."""

import json
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.loading import Loader
from medslip_jax.checkpoints import Best, find_latest
from medslip_jax.experiment.sections import FineTuning, replaced
from medslip_jax.experiment.trees import read_as, tree_of
from medslip_jax.finetuning.data import Split, known_split
from medslip_jax.finetuning.judge import Judge
from medslip_jax.finetuning.start import initial_from, make_tuner
from medslip_jax.parallel import processes
from medslip_jax.step.train_step import TrainState, eval_variables
from medslip_jax.storage.files import made_directory, on_this_machine, write_bytes
from medslip_jax.training.loop import Pulse, train
from medslip_jax.training.setup import LOCAL_KEYS, loader_options, run_mesh


def finetune(
    config: ConfigDict,
    workdir: str | Path,
    *,
    stop_after: int | None = None,
    profile: tuple[int, int] | None = None,
) -> bool:
    """Fine-tunes a model; a second call with the same `workdir` goes on where the first one stopped.

    The model with the best validation metric is kept in WORKDIR/best; `test_once` judges it.

    Args:
      config: as `experiment.default_fine_tuning`, with a data set that is built and targets.
      workdir: metrics, checkpoints and the best model are written here; with several processes all of them see it.
      stop_after: ends after this many steps in all, with a checkpoint.
      profile: (first, last) steps of a trace.

    Returns:
      Whether the run is at its end.

    Raises:
      InputError: a value of the config, the data or init_from that cannot be used, or a `workdir` of another run.
      Preempted: SIGTERM came; the state is saved.
    """
    experiment = read_as(config, FineTuning)
    data, evaluation, task = experiment.data, experiment.eval, experiment.task
    workdir = on_this_machine(workdir, flag="--workdir")
    mesh = run_mesh(experiment)
    training = known_split(data, "train", targets=task.wanted, fraction=data.fraction)
    validation = known_split(data, "validation", targets=task.wanted, at_most=evaluation.images)
    experiment = replaced(experiment, data={"train_images": len(training)})
    processes.agree(tree_of(experiment), local=LOCAL_KEYS)
    tuner = make_tuner(experiment, num_images=len(training), mesh=mesh)
    experiment = replaced(experiment, run={"eval_every": experiment.run.eval_every or tuner.steps_per_epoch})
    initial = initial_from(experiment) if find_latest(workdir) is None else None
    if jax.process_index() == 0:
        _describe(experiment, training, num_steps=tuner.num_steps, workdir=Path(workdir))
    options = loader_options(data, augment=data.augment, targets=task.wanted, seed=experiment.run.seed)
    best = Best(workdir, config=tree_of(experiment), metric=evaluation.metric)
    judge = Judge(experiment, tuner=tuner, split=validation, mesh=mesh)

    def validate(state: TrainState, pulse: Pulse) -> dict[str, float]:
        value = judge.metric(eval_variables(state), pulse=pulse)
        best.offer(value, step=int(state.step), variables=eval_variables(state), mesh=mesh)
        return {f"val_{evaluation.metric}": value, "best_step": best.known["step"]}

    state = train(
        tuner,
        Loader(training.records, train=True, **options),
        experiment=experiment,
        workdir=workdir,
        mesh=mesh,
        initial=initial,
        validate=validate,
        stop_after=stop_after,
        profile=profile,
    )
    return int(state.step) == tuner.num_steps


def _describe(experiment: FineTuning, training: Split, *, num_steps: int, workdir: Path) -> None:
    """Prints what is about to run and leaves subset.json: which images it learns from."""
    data, task, targets = experiment.data, experiment.task, experiment.task.wanted
    ids = [training.records[i]["image_id"] for i in range(len(training))]
    subset = training.describe({"image_id": ids})
    subset |= {"fraction": data.fraction, "subset_seed": data.subset_seed, "image_ids": ids}
    if targets.kind == "labels":
        labels = np.stack([targets.labels(training.records[i]) for i in range(len(training))])
        subset["positive"] = dict(zip(targets.names, (labels == 1).sum(axis=0).tolist(), strict=True))
        subset["negative"] = dict(zip(targets.names, (labels == 0).sum(axis=0).tolist(), strict=True))
    made_directory(workdir, flag="--workdir")
    write_bytes(workdir / "subset.json", json.dumps(subset, indent=1).encode())
    start = experiment.run.init_from or "random values"
    print(
        f"{len(training)} of {training.of} images, {subset['patients']} patients; "
        f"{num_steps} steps of {data.batch_size}, {task.tune}, from {start}; {workdir}"
    )
