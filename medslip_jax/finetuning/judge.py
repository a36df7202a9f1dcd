"""A fine-tuned model over a split, and how good it is (SPEC 7)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from data_pipelines.loading import Loader, Targets
from medslip_jax.errors import InputError
from medslip_jax.evaluation import zero_shot
from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.metrics.intervals import mean_intervals
from medslip_jax.evaluation.metrics.segmentation import overlap_report, pooled_dice_interval
from medslip_jax.evaluation.scoring import score
from medslip_jax.experiment.sections import FineTuning, TaskConfig
from medslip_jax.finetuning.data import Split
from medslip_jax.finetuning.step import FineTuner, jit_judge_step
from medslip_jax.parallel.processes import CompiledTogether
from medslip_jax.training.setup import loader_options


class Judge:
    """Runs the model of an experiment over a split and says how good it is.

    Args:
      experiment: the task, the metric, the batch size, the image size and the threads are read here.
      tuner: the run's fixed parts.
      split: what is judged.
      mesh: where.
    """

    def __init__(self, experiment: FineTuning, *, tuner: FineTuner, split: Split, mesh: Mesh):
        self._task, self._metric, self._mesh = experiment.task, experiment.eval.metric, mesh
        self.split, self.targets = split, self._task.wanted
        step = jit_judge_step(tuner, mesh, threshold=self._task.threshold)
        self._step = CompiledTogether(step, name="judge")
        options = loader_options(experiment.data, batch_size=experiment.eval.batch_size, workers=0)
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
        rows, metric = self.rows(variables, pulse=pulse), self._metric
        if self._task.kind == "classifier":
            report = classification_report(rows["probability"], labels=rows["labels"], names=self.targets.names)
            value = report["macro"][metric]
        else:
            values = [report[metric] for report in overlaps(rows, self.targets, threshold=self._task.threshold)]
            value = None if None in values else float(np.mean(values))
        if value is None:
            raise InputError(
                f"eval.metric={metric}: not defined on the validation split, which lacks positives or negatives"
            )
        return value


def areas_of(rows: Mapping[str, np.ndarray], number: int) -> dict[str, Any]:
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


def segmentation_result(rows: Mapping[str, np.ndarray], *, task: TaskConfig, resamples: int, size: int) -> dict:
    """{"segmentation": {"size", "threshold", "targets": {name: report with "intervals"}}}, over patients."""
    sections, targets, threshold = {}, task.wanted, task.threshold
    draw: dict[str, Any] = {"patients": rows["patient_id"], "resamples": resamples}
    for i, (name, report) in enumerate(zip(targets.names, overlaps(rows, targets, threshold=threshold), strict=True)):
        values = {key: np.array(value) for key, value in report.pop("per_image").items()}
        areas = areas_of(rows, i)
        values["dice_positive"] = np.where(areas["true"] > 0, values["dice"], np.nan)
        intervals = mean_intervals(values, **draw)
        # As in the report: the per-image "dice" is `dice_all`'s.
        means = {("dice_all" if key == "dice" else key): row for key, row in intervals["means"].items()}
        means["dice_pooled"] = pooled_dice_interval(**areas, **draw)
        sections[name] = report | {"intervals": intervals | {"means": means}}
    return {"segmentation": {"size": size, "threshold": threshold, "targets": sections}}
