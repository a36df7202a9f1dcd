"""Gradients written by hand are those of automatic differentiation, and each platform gets its own form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.models.convolutions import convolution, pointwise
from medslip_jax.models.pooling import max_pool

HIGHEST = jax.lax.Precision.HIGHEST


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def plain_convolution(x, kernel, stride):
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=HIGHEST,
    )


def plain_max_pool(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def same_gradients(mine, plain, *operands) -> None:
    y, back = jax.vjp(mine, *operands)
    want, plain_back = jax.vjp(plain, *operands)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    dy = normal(9, *y.shape)
    for got, expected in zip(back(dy), plain_back(dy), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [(3, 5), (5, 3), (4, 4)])
def test_pointwise(widths):
    same_gradients(
        lambda x, w: pointwise(x, w, HIGHEST),
        lambda x, w: jnp.matmul(x, w, precision=HIGHEST),
        normal(0, 2, 3, 4, widths[0]),
        normal(1, *widths),
    )


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [(8, 6), (7, 8), (5, 5)])
def test_convolution(size, stride, side):
    same_gradients(
        lambda x, w: convolution(x, w, stride, HIGHEST),
        lambda x, w: plain_convolution(x, w, stride),
        normal(0, 2, *side, 3),
        normal(1, size, size, 3, 4),
    )


@settings(max_examples=25)
@given(st.sampled_from([(4, 4), (6, 8), (5, 6), (6, 5), (7, 7), (1, 3), (2, 1)]), st.integers(0, 1000), st.booleans())
def test_max_pool_with_ties(side, seed, ties):
    """Whole numbers from 0 to 2 tie in most windows: the first of a window in row order gets the gradient."""
    x = normal(seed, 2, *side, 3)
    if ties:
        x = jnp.abs(jnp.round(x)).clip(0, 2)
    same_gradients(max_pool, plain_max_pool, x)


def test_a_tie_by_hand():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(5.0).at[0, 1, 2, 0].set(5.0)
    _, back = jax.vjp(max_pool, x)
    dx = back(jnp.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(1, 2, 2, 1))[0][0, :, :, 0]
    # All four windows see the fives; each takes the first that it sees in row order.
    assert dx[1, 1] == 1.0 + 10.0 + 100.0 + 1000.0 and dx.sum() == 1111.0


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_get_no_barriers(platform):
    def loss(x, w, v):
        y = convolution(pointwise(x, w, HIGHEST), v, 2, HIGHEST)
        return max_pool(y).sum()

    args = normal(0, 1, 16, 16, 3), normal(1, 3, 4), normal(2, 3, 3, 4, 4)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    text = gradient.trace(*args).lower(lowering_platforms=(platform,)).as_text()
    assert "optimization_barrier" not in text
    assert "optimization_barrier" in gradient.trace(*args).lower(lowering_platforms=("cpu",)).as_text()
    assert ("select_and_scatter" in text) == (platform == "tpu")


@pytest.mark.parametrize("side", [(8, 6), (7, 6), (8, 5), (7, 7)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_scatter_in_max_pools_gradient_on_a_gpu(side, dtype):
    gradient = jax.jit(jax.grad(lambda x: max_pool(x).sum()))
    traced = gradient.trace(jax.ShapeDtypeStruct((2, *side, 3), dtype))
    for platform, scatters in {"cpu": False, "cuda": False, "tpu": True}.items():
        assert ("select_and_scatter" in traced.lower(lowering_platforms=(platform,)).as_text()) == scatters, platform
