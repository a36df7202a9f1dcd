"""`medslip finetune --config FILE[:arg] --workdir DIR [--config.x.y=value ...]`: a classifier or a U-Net (SPEC 7).

The model with the best validation metric is kept in DIR/best. At the end it is judged on the test split, once: the
results lie in DIR/test. A second call with the same --workdir goes on where the first one stopped.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.loading.loader import Loader
from medslip_jax.checkpoints import Best, find_latest, read_config, read_variables
from medslip_jax.cli.help_layout import help_layout
from medslip_jax.cli.pretrain import LOCAL_KEYS, loader_options, make_mesh
from medslip_jax.errors import InputError
from medslip_jax.evaluation.provenance import computed_with
from medslip_jax.evaluation.result_files import json_bytes, round_numbers
from medslip_jax.experiment import config as experiment
from medslip_jax.finetuning import parts
from medslip_jax.finetuning.parts import Judge, Split
from medslip_jax.parallel import processes, sharding
from medslip_jax.report.tables.classification import classification_table
from medslip_jax.report.tables.tuning import segmentation_table
from medslip_jax.step.train_step import TrainState, eval_variables
from medslip_jax.storage.files import made_directory, on_this_machine, replacing_file, tree_hash, write_bytes
from medslip_jax.training import profiling
from medslip_jax.training.loop import Pulse, train


def main(argv: list[str]) -> int:
    args, rest = _parser().parse_known_args(argv)
    config, profile = experiment.load_config(rest), profiling.parse_steps(args.profile)
    if config.get("kind") not in parts.METRICS:
        raise InputError("--config: not a fine-tuning config; pre-training is `medslip pretrain`")
    if args.resamples < 1:  # read when the training is over
        raise InputError(f"--resamples {args.resamples}: must be at least 1")
    config = parts.settled(config)
    with processes.processes(args):
        ended = finetune(config, workdir=args.workdir, stop_after=args.stop_after, profile=profile)
        result = None
        if ended and args.test == "at_end":
            result = test_once(config, workdir=args.workdir, resamples=args.resamples)
        if jax.process_index() == 0:
            _say_end(args.workdir, ended=ended, result=result)
    return 0


def _parser() -> argparse.ArgumentParser:
    start = "medslip finetune --config configs"
    parser = argparse.ArgumentParser(
        "medslip finetune",
        **help_layout(
            f"{start}/finetune_classification.py:data=phantom --workdir runs/f --config.init_from=runs/a",
            f"{start}/finetune_segmentation.py:data=folder --workdir runs/s --config.init_from=runs/a",
            description=__doc__,
        ),
    )
    parser.add_argument("--workdir", required=True, help="metrics, checkpoints, best model and results go here")
    parser.add_argument("--stop_after", type=int, help="end after this step, with a checkpoint (to try resuming)")
    parser.add_argument(
        "--test", choices=("at_end", "never"), default="at_end", help="touch the test split (%(default)s)"
    )
    parser.add_argument("--resamples", type=int, default=1000, help="of the patient-level bootstrap (%(default)s)")
    parser.add_argument("--profile", metavar="A:B", help="trace the steps after A up to B into WORKDIR/profile")
    processes.add_flags(parser)
    return parser


def _say_end(workdir: str, *, ended: bool, result: Mapping | None) -> None:
    if not ended:
        print(f"stopped early; the best so far: {workdir}/best")
    if result is not None:
        print(summary(result))
        print(f"\nwritten: {Path(workdir) / 'test' / 'metrics.json'}; the model: {Path(workdir) / 'best'}")


def finetune(
    config: ConfigDict,
    *,
    workdir: str | Path,
    stop_after: int | None = None,
    profile: tuple[int, int] | None = None,
) -> bool:
    """Trains what a settled config describes (`experiment.default_fine_tuning`); returns whether it is at its end."""
    workdir = on_this_machine(workdir, flag="--workdir")
    config = config.copy_and_resolve_references()
    experiment.require_image_size(config)
    augment = experiment.augment_config(config)
    mesh = make_mesh(config)
    training = parts.known_split(config, "train", fraction=config.data.fraction)
    validation = parts.known_split(config, "validation", at_most=config.eval.images)
    config.data.train_images = len(training)
    processes.agree(config.to_dict(), local=LOCAL_KEYS)
    tuner = parts.make_tuner(config, num_images=len(training), mesh=mesh)
    config.eval_every = config.eval_every or tuner.steps_per_epoch
    starts = find_latest(workdir) is None
    initial = parts.initial_from(config) if starts else None
    if jax.process_index() == 0:
        _describe(config, training, num_steps=tuner.num_steps, workdir=Path(workdir))
    targets = parts.targets_of(config)
    loader = Loader(
        training.records, train=True, augment=augment, targets=targets, seed=config.seed, **loader_options(config)
    )
    best = Best(workdir, config=config.to_dict(), metric=config.eval.metric)
    judge = Judge(config, tuner=tuner, split=validation, mesh=mesh)

    def validate(state: TrainState, pulse: Pulse) -> dict[str, float]:
        value = judge.metric(eval_variables(state), pulse=pulse)
        best.offer(value, step=int(state.step), variables=eval_variables(state), mesh=mesh)
        return {f"val_{config.eval.metric}": value, "best_step": best.known["step"]}

    state = train(
        tuner,
        loader,
        config=config,
        workdir=workdir,
        mesh=mesh,
        initial=initial,
        validate=validate,
        stop_after=stop_after,
        profile=profile,
    )
    return int(state.step) == tuner.num_steps


def _describe(config: ConfigDict, training: Split, *, num_steps: int, workdir: Path) -> None:
    """Prints what is about to run and leaves subset.json: which images it learns from."""
    targets = parts.targets_of(config)
    ids = [training.records[i]["image_id"] for i in range(len(training))]
    subset = parts.describe_split(training, {"image_id": ids})
    subset |= {"fraction": config.data.fraction, "subset_seed": config.data.subset_seed, "image_ids": ids}
    if targets.kind == "labels":
        labels = np.stack([targets.labels(training.records[i]) for i in range(len(training))])
        subset["positive"] = dict(zip(targets.names, (labels == 1).sum(axis=0).tolist(), strict=True))
        subset["negative"] = dict(zip(targets.names, (labels == 0).sum(axis=0).tolist(), strict=True))
    made_directory(workdir, flag="--workdir")
    write_bytes(workdir / "subset.json", json.dumps(subset, indent=1).encode())
    start = config.init_from or "random values"
    print(
        f"{len(training)} of {training.of} images, {subset['patients']} patients; "
        f"{num_steps} steps of {config.data.batch_size}, {config.tune}, from {start}; {workdir}"
    )


def test_once(config: ConfigDict, *, workdir: str | Path, resamples: int = 1000) -> dict:
    """The best model on the test split. Results that are there already, of this model and so many resamples, stay.

    Args:
      config: settled.
      workdir: of a run that has ended.
      resamples: of the patient-level bootstrap.
    """
    workdir = Path(workdir)
    best, out = Best(workdir, config=config.to_dict(), metric=config.eval.metric), workdir / "test"
    digest = tree_hash(best.directory / "model")
    if known := _known_result(out, digest=digest, resamples=resamples):
        return known
    processes.barrier("look for results")  # before process 0 writes what another would find
    mesh = make_mesh(config)
    variables = read_variables(best.directory, sharding=sharding.replicated(mesh))
    tuner = parts.make_tuner(config, num_images=1)
    splits = {name: parts.known_split(config, name) for name in ("test", "validation")}
    # A segmentation threshold is fixed, so only classification asks validation for one.
    wanted = splits if config.kind == "classifier" else {"test": splits["test"]}
    rows = {name: Judge(config, tuner=tuner, split=s, mesh=mesh).rows(variables) for name, s in wanted.items()}
    numbers = round_numbers(_numbers(config, rows, resamples=resamples))
    header = _header(config, best, digest=digest, split=splits["test"], rows=rows["test"], resamples=resamples)
    result = header | numbers
    if jax.process_index() == 0:
        out.mkdir(parents=True, exist_ok=True)
        # Last what a later call takes as a sign that all is there.
        _write_predictions(out / "predictions.npz", rows["test"], names=parts.targets_of(config).names)
        write_bytes(out / "metrics.json", json_bytes(result))
    return result


def _known_result(out: Path, *, digest: str, resamples: int) -> dict | None:
    """The results in `out` if they are of the model with this digest, with intervals from so many resamples."""
    file = out / "metrics.json"
    result = json.loads(file.read_bytes()) if file.is_file() else None
    same = result and result["checkpoint"]["sha256"] == digest and result.get("resamples") == resamples
    return result if same else None


def _numbers(config: ConfigDict, rows: Mapping[str, Mapping], *, resamples: int) -> dict:
    targets = parts.targets_of(config)
    if targets.kind == "labels":
        return parts.classification_result(rows["test"], rows["validation"], names=targets.names, resamples=resamples)
    return parts.segmentation_result(
        rows["test"], targets=targets, threshold=config.threshold, resamples=resamples, size=config.data.image_size
    )


def _header(config: ConfigDict, best: Best, *, digest: str, split: Split, rows: Mapping, resamples: int) -> dict:
    """What was judged and where it comes from."""
    images = read_config(best.directory)["data"]["train_images"]
    return {
        "checkpoint": {"path": str(best.directory), "sha256": digest, "kind": config.kind, **best.known},
        "data": {"name": config.data.name, "split": "test", **parts.describe_split(split, rows)}
        | {"built_with": split.metadata},
        "training": {key: config[key] for key in ("init_from", "tune", "seed")}
        | {"train_images": images}
        | {key: config.data[key] for key in ("fraction", "subset_seed", "image_size")},
        "targets": list(config.targets),
        "threshold_split": "validation" if config.kind == "classifier" else None,
        "preprocessing": {"image_size": config.data.image_size},
        **computed_with(dtype=config.model.dtype),
        "resamples": resamples,
    }


def _write_predictions(path: Path, rows: Mapping[str, np.ndarray], *, names: tuple[str, ...]) -> None:
    """For `medslip compare`, under its names; of a U-Net the areas."""
    arrays = {key: rows[key] for key in ("image_id", "patient_id", "index")} | {"pathology_names": np.array(names)}
    if "probability" in rows:
        arrays |= {"pathology": rows["probability"], "labels": rows["labels"]}
    else:
        arrays |= {key: rows[key] for key in ("intersection", "said", "true")}
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def summary(result: Mapping) -> str:
    """The table that the command prints."""
    best = result["checkpoint"]
    chosen = f"best by validation: step {best['step']}, {best['metric']} {best['value']:.3f}"
    if "segmentation" in result:
        return f"{chosen}\n\n{segmentation_table(result['segmentation'])}"
    section = result["classification"]["pathology"]
    table = classification_table(section["report"], intervals=section["intervals"], threshold_source="validation")
    return f"{chosen}\n\n{table}"
