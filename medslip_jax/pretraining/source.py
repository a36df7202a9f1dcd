"""The images that a pre-training run learns from."""

from data_pipelines.datasets import open_split
from data_pipelines.loading import Mixture
from data_pipelines.records import Source
from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import PretrainingData
from medslip_jax.experiment.tables import built_data


def training_source(data: PretrainingData) -> Source | Mixture:
    """The training split of data.name, or the weighted mixture of those in data.mixture.

    Raises:
      InputError: a data set that is not built, or a malformed mixture.
    """
    directory = built_data(data.name, data.dir)
    if not data.mixture:
        return open_split(directory, data.name, "train")
    names, weights = [], []
    for item in data.mixture.split(","):
        name, _, weight = item.strip().partition("=")
        try:
            weights.append(float(weight))
        except ValueError as error:
            raise InputError(f"data.mixture={data.mixture!r}: {item!r} is not NAME=WEIGHT") from error
        names.append(name)
    return Mixture(tuple(open_split(directory, name, "train") for name in names), tuple(weights))
