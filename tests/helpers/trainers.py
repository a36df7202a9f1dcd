"""The fixed parts of a pre-training run, from a config tree."""

from collections.abc import Mapping

from medslip_jax.experiment import read
from medslip_jax.experiment.tables import load_tables
from medslip_jax.pretraining import make_trainer
from medslip_jax.step.train_step import Trainer
from medslip_jax.text.books import TextBooks


def tables_of(config: Mapping) -> TextBooks:
    experiment = read(config)
    return load_tables(experiment.books, text_dim=experiment.model.text_dim)


def trainer_of(config: Mapping, *, num_images: int, mesh=None) -> Trainer:
    return make_trainer(read(config), books=tables_of(config), num_images=num_images, mesh=mesh)
