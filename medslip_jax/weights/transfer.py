"""Trained variables enter a model by name: the same one, or a fine-tuning model that shares parts with it.

The rule (SPEC 7): a leaf whose path both models have is taken over and must have the same shape. What a fine-tuning
model has of its own starts anew, what only pre-training has stays behind; both are listed here, and any other
difference is an error.
"""

import fnmatch
from collections.abc import Iterable, Mapping

import numpy as np
from flax import traverse_util

from medslip_jax.models.kinds import ModelConfig, abstract_variables, initial_variables
from medslip_jax.storage.matching import match, shapes_of
from medslip_jax.weights.torch.conversion import flatten

# Of the fine-tuning models alone: layer4, the way back to the trunk's width, the U-Net's path up, the last layer.
_NEW = ("*/layer4_*", "*/back/*", "*/bridge_*", "*/up_*", "*/head/*")
# Of pre-training alone: what turns patches into answers to queries.
_LEFT_BEHIND = ("*/query_projection*", "*/decoder_*", "*/classifier_*", "*/projection_*")
# Of pre-training, kept by the classifier with disentangle="pathology" only.
_BLOCK = ("*/mask_generator/*", "*/patch_hidden_*", "*/patch_out_*", "*/patch_norm_*")


def fit(variables: Mapping, config: ModelConfig, *, excuse: Iterable[str] = (), seed: int = 0) -> dict:
    """Variables for the model of `config` from those of the same kind of model.

    Args:
      variables: {"params", "batch_stats"}.
      config: of the target.
      excuse: leaf paths such as "params/decoder_*" that need not fit; the target's then keep initial values.
      seed: of initial values.

    Returns:
      {"variables": nested dict, "report": MatchReport}.

    Raises:
      InputError: a leaf that is not excused is missing, left over or of another shape, or nothing is to be excused.
    """
    source = flatten(variables)
    report = match(shapes_of(source), shapes_of(flatten(abstract_variables(config))), excuse=excuse)
    report.check("variables")
    taken = {path: source[path] for path in report.loaded}
    if report.unfilled:
        initial = flatten(initial_variables(config, seed=seed))
        taken |= {path: np.asarray(initial[path]) for path in report.unfilled}
    return {"variables": traverse_util.unflatten_dict(taken, sep="/"), "report": report}


def fine_tuning_variables(variables: Mapping, config: ModelConfig, *, seed: int = 0) -> dict:
    """Pre-trained variables -> variables of a classifier or a U-Net, by the rule above; returns as `fit`.

    Raises:
      InputError: the pre-trained model has another trunk, or lacks the block that the classifier keeps.
    """
    source = flatten(variables)
    target = flatten(abstract_variables(config))
    keeps_block = getattr(config, "disentangle", "none") != "none"
    patterns = (*_NEW, *_LEFT_BEHIND, *(() if keeps_block else _BLOCK))
    differing = set(source) ^ set(target)
    # Which parts there are depends on both models' options, and a pattern must have something to excuse.
    return fit(variables, config, excuse=[p for p in patterns if fnmatch.filter(differing, p)], seed=seed)
