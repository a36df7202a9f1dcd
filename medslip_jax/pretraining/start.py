"""What a pre-training run is fixed to, and where it starts: random values, or weights that are there already."""

from jax.sharding import Mesh

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import Pretraining, RunConfig
from medslip_jax.experiment.trees import differences
from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.kinds import fields_of
from medslip_jax.step.train_step import Trainer
from medslip_jax.text.books import TextBooks, books_hash
from medslip_jax.training.setup import step_options
from medslip_jax.weights.loading import TRAINING_ONLY, load
from medslip_jax.weights.transfer import fit

# Fields that change the meaning of trained weights without a trace in names and shapes.
_HIDDEN_FIELDS = ("model.decoder_heads", "model.mask_activation")


def make_trainer(experiment: Pretraining, *, books: TextBooks, num_images: int, mesh: Mesh | None = None) -> Trainer:
    """What the steps need."""
    options = step_options(experiment, num_images=num_images, mesh=mesh)
    return Trainer(model=experiment.model, loss=experiment.loss, books=books, **options)


def initial_from(run: RunConfig, model: MeDSLIPConfig, *, books: TextBooks) -> dict[str, dict]:
    """The variables of run.init_from, fitted to the run's model.

    Args:
      run: init_from, init_excuse and seed are read here.
      model: of the run.
      books: its text tables as the model reads them; other ones than the weights' get a note.

    Raises:
      InputError: no such model, or another architecture.
    """
    found = load(run.init_from, kind="medslip")
    pretrained = found["pretrained"]
    # What a bare state_dict does not show was assumed, and the run's config knows better.
    free = {*TRAINING_ONLY, *found["assumed"]}
    saved, wanted = (
        {key: value for key, value in fields_of(c).items() if key not in free} for c in (pretrained.config, model)
    )
    differing = differences(saved, wanted, prefix="model.")
    named = f"--config.init_from={run.init_from}: another model ({'; '.join(differing)})"
    try:
        fitted = fit(pretrained.variables, model, excuse=run.init_excuse, seed=run.seed)
    except InputError as error:
        where = named if differing else f"--config.init_from={run.init_from}"
        raise InputError(f"{where}: {error}; see init_excuse") from error
    if any(line.startswith(_HIDDEN_FIELDS) and "'off'" not in line for line in differing):
        raise InputError(named)
    known = pretrained.prepared_books
    if known is not None and books_hash(known) != books_hash(books):
        print(f"note: {run.init_from} was trained with other text tables than this run's")
    return fitted["variables"]
