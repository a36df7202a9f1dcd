"""`medslip pretrain --config FILE[:arg] --workdir DIR [--config.x.y=value ...]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.datasets import open_split
from data_pipelines.loading.loader import Loader, Mixture
from medslip_jax.checkpoints import find_latest
from medslip_jax.cli.help_layout import help_layout
from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.scoring import jit_score_step, score
from medslip_jax.experiment import config as experiment
from medslip_jax.models.kinds import fields_of
from medslip_jax.parallel import processes, sharding
from medslip_jax.step.train_step import Trainer, TrainState, eval_variables
from medslip_jax.storage.files import on_this_machine
from medslip_jax.training import profiling
from medslip_jax.training.loop import Pulse, Validate, train
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index
from medslip_jax.weights.loading import TRAINING_ONLY, load
from medslip_jax.weights.transfer import fit

# Fields that change the meaning of trained weights without a trace in names and shapes.
_HIDDEN_FIELDS = ("model.decoder_heads", "model.mask_activation")
# What may differ between the hosts of a run.
LOCAL_KEYS = ("data.dir", "data.workers", "data.threads", "books.path")


def main(argv: list[str]) -> int:
    """Parses the flags and trains; a second call with the same `--workdir` goes on where the first one stopped."""
    args, rest = _parser().parse_known_args(argv)
    config, profile = experiment.load_config(rest), profiling.parse_steps(args.profile)
    if "loss" not in config:
        raise InputError("--config: not a pre-training config; `medslip finetune` and `evaluate` take the others")
    with processes.processes(args):
        pretrain(config, workdir=args.workdir, stop_after=args.stop_after, profile=profile)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "medslip pretrain",
        **help_layout(
            "medslip pretrain --config configs/phantom.py --workdir runs/a",
            "medslip pretrain --config configs/pretrain_mimic.py:bf16 --workdir runs/b --config.data.batch_size=256",
            description=__doc__,
        ),
    )
    parser.add_argument("--workdir", required=True, help="metrics, checkpoints and the config are written here")
    parser.add_argument("--stop_after", type=int, help="end after this step, with a checkpoint (to try resuming)")
    parser.add_argument("--profile", metavar="A:B", help="trace the steps after A up to B into WORKDIR/profile")
    processes.add_flags(parser)
    return parser


def pretrain(
    config: ConfigDict,
    *,
    workdir: str | Path,
    stop_after: int | None = None,
    profile: tuple[int, int] | None = None,
) -> TrainState:
    """Trains what `config` describes (see `experiment.default_config`) and returns the last state."""
    data_dir = experiment.require_built(config)
    workdir = on_this_machine(workdir, flag="--workdir")
    experiment.require_image_size(config)
    augment = experiment.augment_config(config)
    mesh = make_mesh(config)
    source = training_source(config)
    config = config.copy_and_resolve_references()
    config.data.train_images, config.books.sha256 = len(source), experiment.books_hash(experiment.books(config))
    processes.agree(config.to_dict(), local=LOCAL_KEYS)
    trainer = make_trainer(config, num_images=len(source), mesh=mesh)
    loader = Loader(source, train=True, augment=augment, seed=config.seed, **loader_options(config))
    latest = find_latest(workdir)
    if jax.process_index() == 0:
        devices = f"{mesh.size} {jax.devices()[0].platform} device(s)"
        print(f"{len(source)} images, {trainer.num_steps} steps of {config.data.batch_size} on {devices}; {workdir}")
        if latest is not None:
            ended = int(latest.name) >= trainer.num_steps
            print(f"newest checkpoint: {latest}{'; the run has ended' if ended else ''}")
    validation = open_split(data_dir, config.data.name, "validation")
    # Only a run that starts needs them, and the source may be gone when it goes on.
    starts = config.init_from and latest is None
    return train(
        trainer,
        loader,
        config=config,
        workdir=workdir,
        mesh=mesh,
        initial=initial_from(config) if starts else None,
        validate=make_validation(config, trainer, validation, mesh),
        stop_after=stop_after,
        profile=profile,
    )


def make_mesh(config: ConfigDict) -> Mesh:
    """The mesh of a run, whose batches fit it. `InputError` naming the key that does not."""
    mesh = sharding.make_mesh(data=config.mesh.data, fsdp=config.mesh.fsdp)
    sharding.check_batch_size(mesh, config.data.batch_size, key="data.batch_size", parts=config.optim.accumulate)
    sharding.check_batch_size(mesh, config.eval.batch_size, key="eval.batch_size")
    return mesh


def training_source(config: ConfigDict) -> Sequence[dict] | Mixture:
    """The training split of data.name, or the weighted mixture of those in data.mixture.

    Raises:
      InputError: a data set that is not built, or a malformed mixture.
    """
    data_dir = experiment.require_built(config)
    if not config.data.mixture:
        return open_split(data_dir, config.data.name, "train")
    names, weights = [], []
    for item in config.data.mixture.split(","):
        name, _, weight = item.strip().partition("=")
        try:
            weights.append(float(weight))
        except ValueError as error:
            raise InputError(f"data.mixture={config.data.mixture!r}: {item!r} is not NAME=WEIGHT") from error
        names.append(name)
    return Mixture(tuple(open_split(data_dir, name, "train") for name in names), tuple(weights))


def initial_from(config: ConfigDict) -> dict[str, dict]:
    """The variables of config.init_from, fitted to the run's model.

    Raises:
      InputError: no such model, or another architecture.
    """
    found = load(config.init_from, kind="medslip")
    pretrained, model = found["pretrained"], experiment.model_config(config)
    # What a bare state_dict does not show was assumed, and the run's config knows better.
    free = {*TRAINING_ONLY, *found["assumed"]}
    saved, wanted = (
        ConfigDict({key: value for key, value in fields_of(c).items() if key not in free})
        for c in (pretrained.config, model)
    )
    differing = experiment.differences(saved, wanted, prefix="model.")
    named = f"--config.init_from={config.init_from}: another model ({'; '.join(differing)})"
    try:
        fitted = fit(pretrained.variables, model, excuse=config.init_excuse, seed=config.seed)
    except InputError as error:
        where = named if differing else f"--config.init_from={config.init_from}"
        raise InputError(f"{where}: {error}; see init_excuse") from error
    if any(line.startswith(_HIDDEN_FIELDS) and "'off'" not in line for line in differing):
        raise InputError(named)
    known = pretrained.prepared_books
    if known is not None and experiment.books_hash(known) != experiment.books_hash(experiment.books(config)):
        print(f"note: {config.init_from} was trained with other text tables than this run's")
    return fitted["variables"]


def make_trainer(config: ConfigDict, *, num_images: int, mesh: Mesh | None = None) -> Trainer:
    """The fixed parts of a run; its length comes from num_steps or num_epochs, its BatchNorm groups from the mesh."""
    steps_per_epoch = max(1, num_images // config.data.batch_size)
    return Trainer(
        model=experiment.model_config(config),
        loss=experiment.loss_config(config),
        optim=experiment.optim_config(config),
        books=experiment.books(config),
        num_steps=config.num_steps or config.num_epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        seed=config.seed,
        norm_groups=sharding.batch_norm_groups(mesh, devices=config.mesh.batch_norm_devices) if mesh else 1,
    )


def loader_options(config: ConfigDict) -> dict:
    """Arguments of `Loader` that training and evaluation share, for this host."""
    return {
        "batch_size": config.data.batch_size,
        "image_size": config.data.image_size,
        "workers": config.data.workers,
        "threads": config.data.threads,
        "host_index": jax.process_index(),
        "host_count": jax.process_count(),
    }


def make_validation(config: ConfigDict, trainer: Trainer, source, mesh: Mesh) -> Validate:
    """(state, pulse) -> {"val_auroc", "val_classes"}: macro AUROC of pathology presence on the validation split.

    It is None where no class has both positives and negatives.

    Args:
      config: eval.images, eval.batch_size and eval.classes are read here.
      trainer: the run's fixed parts.
      source: the validation records.
      mesh: where the scores are computed.
    """
    step = processes.CompiledTogether(jit_score_step(trainer, mesh), name="validation")
    columns = [pathology_index(name) for name in config.eval.classes] or range(len(PATHOLOGIES))
    names = [PATHOLOGIES[i] for i in columns]
    # Evenly spaced, as a data set may be stored in the order of its sources or classes.
    rows = np.linspace(0, len(source), config.eval.images or len(source), endpoint=False).astype(int)
    rows = np.unique(rows).tolist()
    loader = Loader(
        [source[i] for i in rows] if len(rows) < len(source) else source,
        train=False,
        **loader_options(config) | {"batch_size": config.eval.batch_size, "workers": 0},
    )

    def validate(state: TrainState, pulse: Pulse) -> dict[str, float | None]:
        try:
            scores = score(step, eval_variables(state), loader, mesh=mesh, pulse=pulse)
        finally:
            loader.close()
        report = classification_report(
            scores["pathology"][:, columns], labels=scores["labels"][:, columns], names=names
        )
        macro = report["macro"]
        return {"val_auroc": macro["auroc"], "val_classes": macro["n_defined"]}

    return validate
