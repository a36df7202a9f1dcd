"""The experiments that config files start from."""

from ml_collections import ConfigDict

from medslip_jax.experiment.sections import default_experiment
from medslip_jax.experiment.trees import tree_of


def default_config() -> ConfigDict:
    """The released recipe (SPEC 5) as a tree, on a data set that the config file still has to name.

    Its keys are the fields of the dataclasses in `sections.Pretraining`, which explain them; those of `RunConfig` stand
    at the top.
    """
    return ConfigDict(tree_of(default_experiment("medslip")))


def default_fine_tuning(kind: str) -> ConfigDict:
    """Fine-tuning as of SPEC 7 as a tree: AdamW at 1e-5, batch 64, on a data set and targets still to be named.

    Its keys are the fields of the dataclasses in `sections.FineTuning`; those of `RunConfig` and `TaskConfig` stand at
    the top, and `model` holds the fields of `ClassifierConfig` or `SegmenterConfig`; its num_classes is set by a run,
    to the number of targets.
    """
    return ConfigDict(tree_of(default_experiment(kind)))
