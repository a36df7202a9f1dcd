"""Small models of every kind as `Pretrained`, for several test files."""

import jax
import numpy as np
from tiny_weights import CONFIGS, state_of

from medslip_jax.models.kinds import kind_of
from medslip_jax.testing import tiny_books
from medslip_jax.weights.bundle import describe
from medslip_jax.weights.loading import Pretrained
from medslip_jax.weights.torch.conversion import flatten, from_torch


def make_pretrained(name: str, *, shift: float = 0, **info) -> Pretrained:
    """A model with recipe weights, all shifted by a number; `info` goes into its description."""
    config = CONFIGS[name]
    variables = jax.tree.map(lambda x: x + np.float32(shift), from_torch(state_of(config), config))
    books = tiny_books() if kind_of(config) == "medslip" else None
    return Pretrained(config, variables, books, describe(config, books=books, inherited=info))


def assert_same(got, want) -> None:
    got, want = flatten(jax.device_get(got)), flatten(jax.device_get(want))
    assert got.keys() == want.keys()
    for path, array in want.items():
        assert got[path].dtype == array.dtype and got[path].tobytes() == array.tobytes(), path
