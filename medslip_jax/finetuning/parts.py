"""What a fine-tuning run is made of: its data, its model, where it starts and how it is judged."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.datasets import open_split
from data_pipelines.loading import Loader, Subset, Targets, known_images, nested_rows
from medslip_jax.cli.pretrain import loader_options
from medslip_jax.errors import InputError
from medslip_jax.evaluation import zero_shot
from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.metrics.intervals import mean_intervals
from medslip_jax.evaluation.metrics.segmentation import overlap_report, pooled_dice_interval
from medslip_jax.evaluation.result_files import ids_hash
from medslip_jax.evaluation.scoring import score
from medslip_jax.experiment import config as experiment
from medslip_jax.finetuning.tuner import FineTuner, jit_judge_step
from medslip_jax.models.kinds import ModelConfig, config_from_fields, kind_of
from medslip_jax.parallel import sharding
from medslip_jax.parallel.processes import CompiledTogether
from medslip_jax.weights.loading import load
from medslip_jax.weights.transfer import fine_tuning_variables, fit

METRICS = {"classifier": ("auroc", "average_precision"), "segmenter": ("dice_pooled", "dice_positive", "iou")}


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split whose truth is known, how many there are in all, and how the data set was built."""

    records: Subset
    patients: tuple[str, ...]
    of: int
    metadata: Mapping

    def __len__(self) -> int:
        return len(self.records)


def settled(config: ConfigDict) -> ConfigDict:
    """A copy with what follows from other keys filled in.

    Raises:
      InputError: no targets, a metric of the other kind, or masks that a flip would give the wrong names.
    """
    config = config.copy_and_resolve_references()
    targets = targets_of(config)
    config.model.num_classes = len(targets.specs)
    if config.eval.metric not in METRICS[config.kind]:
        raise InputError(f"eval.metric={config.eval.metric!r}: one of {', '.join(METRICS[config.kind])}")
    if targets.kind == "masks" and config.data.augment.flip == "swap_sides" and targets.mirrored() is None:
        raise InputError(
            f"targets={targets.specs}: the mirror image of one is no target; set --config.data.augment.flip=none"
        )
    return config


def targets_of(config: ConfigDict) -> Targets:
    return Targets("labels" if config.kind == "classifier" else "masks", tuple(config.targets))


def model_of(config: ConfigDict) -> ModelConfig:
    return config_from_fields(config.kind, dict(config.model))


def make_tuner(config: ConfigDict, *, num_images: int, mesh: Mesh | None = None) -> FineTuner:
    """The fixed parts of a run; its length comes from num_steps or num_epochs, its BatchNorm groups from the mesh."""
    steps_per_epoch = max(1, num_images // config.data.batch_size)
    return FineTuner(
        model=model_of(config),
        tune=config.tune,
        optim=experiment.optim_config(config),
        num_steps=config.num_steps or config.num_epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        seed=config.seed,
        norm_groups=sharding.batch_norm_groups(mesh, devices=config.mesh.batch_norm_devices) if mesh else 1,
    )


def known_split(config: ConfigDict, name: str, *, fraction: float = 1.0, at_most: int = 0) -> Split:
    """Images of a split that can be learned from or judged.

    Args:
      config: data.dir, data.name, targets and data.subset_seed.
      name: of the split.
      fraction: share of them, by patient (`subsets.nested_rows`).
      at_most: so many of them, evenly spaced; 0 for all.

    Raises:
      InputError: no such data, or no image with a known truth.
    """
    source, targets = open_split(experiment.require_built(config), config.data.name, name), targets_of(config)
    known = known_images(source, targets=targets)
    rows, patients = known["rows"], known["patients"]
    if not rows:
        wanted = ", ".join(targets.names)
        raise InputError(f"data.name={config.data.name}: no image of {name} has known {targets.kind} of {wanted}")
    chosen = nested_rows(patients, fraction=fraction, seed=config.data.subset_seed)
    if at_most and at_most < len(chosen):
        chosen = [chosen[i] for i in np.linspace(0, len(chosen), at_most, endpoint=False).astype(int)]
    records = Subset(source, [rows[i] for i in chosen])
    return Split(records, tuple(patients[i] for i in chosen), of=len(source), metadata=source.metadata)


def initial_from(config: ConfigDict) -> dict[str, dict] | None:
    """Where the run starts: variables made from config.init_from, None for random ones.

    Raises:
      InputError: no such model, or one that does not fit.
    """
    if not config.init_from:
        return None
    given, model = load(config.init_from)["pretrained"], model_of(config)
    where = f"--config.init_from={config.init_from}"
    kind = kind_of(given.config)
    # What names and shapes do not show has to be asked for.
    keeps_block = config.model.get("disentangle", "none") != "none"
    for field in ("backbone", "trunk_width", *(("mask_activation",) if keeps_block else ())):
        have, want = getattr(given.config, field, None), getattr(model, field)
        if have is not None and have != want:
            raise InputError(
                f"{where}: has model.{field}={have!r}, this run {want!r}; set --config.model.{field}={have}"
            )
    try:
        if kind == "medslip":
            return fine_tuning_variables(given.variables, model, seed=config.seed)["variables"]
        if kind == config.kind:
            return fit(given.variables, model, excuse=config.init_excuse, seed=config.seed)["variables"]
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    raise InputError(
        f"{where}: holds a {kind}; a {config.kind} starts from a pre-trained model or another {config.kind}"
    )


class Judge:
    """Runs a model over a split and says how good it is.

    Args:
      config: settled.
      tuner: the run's fixed parts.
      split: what is judged.
      mesh: where.
    """

    def __init__(self, config: ConfigDict, *, tuner: FineTuner, split: Split, mesh: Mesh):
        self._config, self._mesh, self.split, self.targets = config, mesh, split, targets_of(config)
        step = jit_judge_step(tuner, mesh, threshold=config.threshold)
        self._step = CompiledTogether(step, name="judge")
        options = loader_options(config) | {"batch_size": config.eval.batch_size, "workers": 0}
        self._loader = Loader(split.records, train=False, targets=self.targets, **options)

    def rows(self, variables: Mapping, *, pulse: Callable[[], None] = lambda: None) -> dict[str, np.ndarray]:
        """Rows of `jit_judge_step`, with "image_id" and "patient_id"; `pulse` as of `scoring.score`."""
        try:
            rows = score(self._step, variables, self._loader, mesh=self._mesh, pulse=pulse)
        finally:
            self._loader.close()
        ids = [self.split.records[int(i)]["image_id"] for i in rows["index"]]
        return rows | {"image_id": np.array(ids), "patient_id": np.array(self.split.patients)[rows["index"]]}

    def metric(self, variables: Mapping, *, pulse: Callable[[], None] = lambda: None) -> float:
        """The value of eval.metric. `InputError` if the split leaves it undefined."""
        rows, metric = self.rows(variables, pulse=pulse), self._config.eval.metric
        if self._config.kind == "classifier":
            report = classification_report(rows["probability"], labels=rows["labels"], names=self.targets.names)
            value = report["macro"][metric]
        else:
            values = [report[metric] for report in overlaps(rows, self.targets, threshold=self._config.threshold)]
            value = None if None in values else float(np.mean(values))
        if value is None:
            raise InputError(
                f"eval.metric={metric}: not defined on the validation split, which lacks positives or negatives"
            )
        return value


def areas_of(rows: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """Areas of one target, as `overlap_report` takes them."""
    return {key: rows[key][:, number] for key in ("intersection", "said", "true")}


def overlaps(rows: Mapping[str, np.ndarray], targets: Targets, *, threshold: float) -> list[dict]:
    """An `overlap_report` a target."""
    return [overlap_report(**areas_of(rows, i), threshold=threshold) for i in range(len(targets.specs))]


def classification_result(
    rows: Mapping[str, np.ndarray], validation: Mapping[str, np.ndarray], *, names: Sequence[str], resamples: int
) -> dict:
    """{"classification": {"pathology": ...}} in the form of `medslip evaluate`, thresholds from validation."""
    parts = [{"scores": r["probability"], "labels": r["labels"], "names": list(names)} for r in (rows, validation)]
    section = zero_shot.judge_section(rows, *parts, judging=zero_shot.Judging(resamples=resamples))
    return {"classification": {"pathology": section}}


def segmentation_result(
    rows: Mapping[str, np.ndarray], *, targets: Targets, threshold: float, resamples: int, size: int
) -> dict:
    """{"segmentation": {"size", "threshold", "targets": {name: report with "intervals"}}}, over patients."""
    sections = {}
    draw = {"patients": rows["patient_id"], "resamples": resamples}
    for i, (name, report) in enumerate(zip(targets.names, overlaps(rows, targets, threshold=threshold), strict=True)):
        values = {key: np.array(value) for key, value in report.pop("per_image").items()}
        areas = areas_of(rows, i)
        values["dice_positive"] = np.where(areas["true"] > 0, values["dice"], np.nan)
        intervals = mean_intervals(values, **draw)
        means = _renamed(intervals["means"]) | {"dice_pooled": pooled_dice_interval(**areas, **draw)}
        sections[name] = report | {"intervals": intervals | {"means": means}}
    return {"segmentation": {"size": size, "threshold": threshold, "targets": sections}}


def _renamed(means: Mapping) -> dict:
    """As in the report: the per-image "dice" is `dice_all`'s."""
    return {("dice_all" if name == "dice" else name): row for name, row in means.items()}


def describe_split(split: Split, rows: Mapping | None = None) -> dict:
    """Counts and, with rows, the hash of the image ids."""
    known = {"images": len(split), "patients": len(set(split.patients)), "left_out_unknown": split.of - len(split)}
    return known | ({"ids_sha256": ids_hash(rows)} if rows is not None else {})
