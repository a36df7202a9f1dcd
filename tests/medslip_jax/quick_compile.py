"""Seconds instead of a minute to compile what a test runs only a few times."""

import contextlib
import functools
from collections.abc import Iterator

import jax
import pytest

OPTIONS = {"xla_backend_optimization_level": 0}


@contextlib.contextmanager
def quick_compile() -> Iterator[None]:
    """Every `jax.jit` within compiles without optimisation: the same computation, equal but for rounding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=OPTIONS))
        yield
