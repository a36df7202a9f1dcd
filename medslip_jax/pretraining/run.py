"""A pre-training run, from a config to its last state."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from data_pipelines.datasets import open_split
from data_pipelines.loading import Loader
from medslip_jax.checkpoints import find_latest
from medslip_jax.experiment.sections import Pretraining, replaced
from medslip_jax.experiment.tables import built_data, load_tables
from medslip_jax.experiment.trees import read_as, tree_of
from medslip_jax.parallel import processes
from medslip_jax.pretraining.source import training_source
from medslip_jax.pretraining.start import initial_from, make_trainer
from medslip_jax.pretraining.validation import make_validation
from medslip_jax.step.train_step import TrainState
from medslip_jax.storage.files import on_this_machine
from medslip_jax.text.books import books_hash
from medslip_jax.training.loop import train
from medslip_jax.training.setup import LOCAL_KEYS, loader_options, run_mesh


def pretrain(
    config: ConfigDict,
    workdir: str | Path,
    *,
    stop_after: int | None = None,
    profile: tuple[int, int] | None = None,
) -> TrainState:
    """Trains a model; a second call with the same `workdir` goes on where the first one stopped.

    Example:
      config = load_config(["--config=configs/phantom.py:tiny"])
      state = pretrain(config, "runs/a")

    Args:
      config: as `experiment.default_config`, with a data set that is built.
      workdir: metrics, checkpoints and the config are written here; with several processes all of them see it.
      stop_after: ends after this many steps in all, with a checkpoint.
      profile: (first, last) steps of a trace.

    Raises:
      InputError: a value of the config or the data that cannot be used, or a `workdir` of another run.
      Preempted: SIGTERM came; the state is saved.
    """
    experiment = read_as(config, Pretraining)
    run, model, data = experiment.run, experiment.model, experiment.data
    data_dir = built_data(data.name, data.dir)
    workdir = on_this_machine(workdir, flag="--workdir")
    mesh = run_mesh(experiment)
    source = training_source(data)
    tables = load_tables(experiment.books, text_dim=model.text_dim)
    experiment = replaced(experiment, data={"train_images": len(source)}, books={"sha256": books_hash(tables)})
    processes.agree(tree_of(experiment), local=LOCAL_KEYS)
    trainer = make_trainer(experiment, books=tables, num_images=len(source), mesh=mesh)
    options = loader_options(data, augment=data.augment, seed=run.seed)
    latest = find_latest(workdir)
    if jax.process_index() == 0:
        devices = f"{mesh.size} {jax.devices()[0].platform} device(s)"
        print(f"{len(source)} images, {trainer.num_steps} steps of {data.batch_size} on {devices}; {workdir}")
        if latest is not None:
            ended = int(latest.name) >= trainer.num_steps
            print(f"newest checkpoint: {latest}{'; the run has ended' if ended else ''}")
    validation = open_split(data_dir, data.name, "validation")
    # Only a run that starts needs them, and the source may be gone when it goes on.
    starts = run.init_from and latest is None
    return train(
        trainer,
        Loader(source, train=True, **options),
        experiment=experiment,
        workdir=workdir,
        mesh=mesh,
        initial=initial_from(run, model, books=tables) if starts else None,
        validate=make_validation(experiment, trainer=trainer, source=validation, mesh=mesh),
        stop_after=stop_after,
        profile=profile,
    )
