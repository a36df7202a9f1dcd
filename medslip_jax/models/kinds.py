"""The kinds of models by name, and what can be said of each without running it."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from medslip_jax.errors import InputError, from_section
from medslip_jax.models.classifier import Classifier
from medslip_jax.models.config import ClassifierConfig, Kind, MeDSLIPConfig, SegmenterConfig
from medslip_jax.models.dual_stream import MeDSLIP
from medslip_jax.models.segmenter import Segmenter

ModelConfig = MeDSLIPConfig | ClassifierConfig | SegmenterConfig

# Kind -> (config, module); the kind is the module's name in lower case.
KINDS: dict[Kind, tuple[type, type]] = {
    "medslip": (MeDSLIPConfig, MeDSLIP),
    "classifier": (ClassifierConfig, Classifier),
    "segmenter": (SegmenterConfig, Segmenter),
}


def kind_of(config: ModelConfig) -> Kind:
    return next(kind for kind, (cls, _) in KINDS.items() if type(config) is cls)


def make_module(config: ModelConfig, *, norm_groups: int = 1) -> nn.Module:
    """The module of a config; `norm_groups` are those of `layers.BatchNorm`, for training."""
    return KINDS[kind_of(config)][1](config, norm_groups)


def config_from_fields(kind: str, fields: Mapping) -> ModelConfig:
    """The config of a kind from {field: value}; `InputError` for an unknown kind, field or value."""
    for known, (cls, _) in KINDS.items():
        if kind == known:
            return from_section(cls, fields, name="config.model")
    raise InputError(f"kind {kind!r} is unknown; one of {', '.join(KINDS)}")


def initial_variables(config: ModelConfig, *, seed: int = 0) -> dict[str, dict]:
    """{"params", "batch_stats"} before training."""
    return jax.jit(make_module(config).init)(jax.random.key(seed), *_inputs(config))


def initial_leaves(config: ModelConfig, paths: Iterable[str], *, seed: int = 0) -> dict[str, jax.Array]:
    """{path: leaf} of `initial_variables` for paths such as "params/head/bias"; only these are compiled."""
    wanted, module = set(paths), make_module(config)

    def leaves(*args) -> dict[str, jax.Array]:
        return {k: x for k, x in traverse_util.flatten_dict(module.init(*args), sep="/").items() if k in wanted}

    return jax.jit(leaves)(jax.random.key(seed), *_inputs(config))


@functools.lru_cache(maxsize=16)
def abstract_variables(config: ModelConfig) -> Mapping[str, Mapping]:
    """The same tree as shapes and dtypes (`jax.ShapeDtypeStruct`), without computing anything."""
    return jax.eval_shape(make_module(config).init, jax.random.key(0), *_inputs(config))


def _inputs(config: ModelConfig) -> list[jax.Array]:
    """The smallest arguments that a module takes; no parameter's shape depends on their size."""
    image = jnp.zeros((1, 32, 32, 3))
    return [image, *[jnp.zeros((1, config.text_dim))] * 2] if isinstance(config, MeDSLIPConfig) else [image]


def fields_of(config: ModelConfig) -> dict:
    """{field: value}, for JSON."""
    return dataclasses.asdict(config)
