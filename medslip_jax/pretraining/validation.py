"""How good a model is while it is pre-trained."""

from jax.sharding import Mesh

from data_pipelines.loading import Loader, Subset
from data_pipelines.records import Source
from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.scoring import jit_score_step, score
from medslip_jax.experiment.sections import Pretraining
from medslip_jax.parallel.processes import CompiledTogether
from medslip_jax.step.train_step import Trainer, TrainState, eval_variables
from medslip_jax.training.loop import Pulse, Validate
from medslip_jax.training.setup import evenly_spaced, loader_options
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index


def make_validation(experiment: Pretraining, *, trainer: Trainer, source: Source, mesh: Mesh) -> Validate:
    """(state, pulse) -> {"val_auroc", "val_classes"}: macro AUROC of pathology presence on the validation split.

    It is None where no class has both positives and negatives.

    Args:
      experiment: which images and classes, the batch size, the image size and the threads are read here.
      trainer: the run's fixed parts.
      source: the validation records.
      mesh: where the scores are computed.
    """
    validation, data = experiment.eval, experiment.data
    step = CompiledTogether(jit_score_step(trainer, mesh), name="validation")
    columns = [pathology_index(name) for name in validation.classes] or range(len(PATHOLOGIES))
    names = [PATHOLOGIES[i] for i in columns]
    records = Subset(source, evenly_spaced(source, at_most=validation.images))
    loader = Loader(records, train=False, **loader_options(data, batch_size=validation.batch_size, workers=0))

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
