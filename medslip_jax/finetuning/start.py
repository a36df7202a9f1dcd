"""What a fine-tuning run is fixed to, and where it starts."""

from jax.sharding import Mesh

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import FineTuning
from medslip_jax.finetuning.step import FineTuner
from medslip_jax.models.kinds import kind_of
from medslip_jax.training.setup import step_options
from medslip_jax.weights.loading import load
from medslip_jax.weights.transfer import fine_tuning_variables, fit


def make_tuner(experiment: FineTuning, *, num_images: int, mesh: Mesh | None = None) -> FineTuner:
    """What the steps need."""
    options = step_options(experiment, num_images=num_images, mesh=mesh)
    return FineTuner(model=experiment.model, tune=experiment.task.tune, **options)


def initial_from(experiment: FineTuning) -> dict[str, dict] | None:
    """Where the run starts: variables made from run.init_from, None for random ones.

    Raises:
      InputError: no such model, or one that does not fit.
    """
    run, model = experiment.run, experiment.model
    if not run.init_from:
        return None
    given = load(run.init_from)["pretrained"]
    where = f"--config.init_from={run.init_from}"
    kind, wanted_kind = kind_of(given.config), experiment.task.kind
    # What names and shapes do not show has to be asked for.
    keeps_block = getattr(model, "disentangle", "none") != "none"
    for field in ("backbone", "trunk_width", *(("mask_activation",) if keeps_block else ())):
        have, want = getattr(given.config, field, None), getattr(model, field)
        if have is not None and have != want:
            raise InputError(
                f"{where}: has model.{field}={have!r}, this run {want!r}; set --config.model.{field}={have}"
            )
    try:
        if kind == "medslip":
            return fine_tuning_variables(given.variables, model, seed=run.seed)["variables"]
        if kind == wanted_kind:
            return fit(given.variables, model, excuse=run.init_excuse, seed=run.seed)["variables"]
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    raise InputError(
        f"{where}: holds a {kind}; a {wanted_kind} starts from a pre-trained model or another {wanted_kind}"
    )
