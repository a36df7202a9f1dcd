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


def plain_convolution_in_float64(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """3 x 3, stride 1."""
    h, w = x.shape[1:3]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(padded[:, i : i + h, j : j + w] @ kernel[i, j].astype(np.float64) for i in range(3) for j in range(3))


def plain_max_pool(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def same_gradients(mine, plain, *operands) -> None:
    dy = normal(9, *jax.eval_shape(plain, *operands).shape)

    def both(f):
        y, back = jax.vjp(f, *operands)
        return y, back(dy)

    (y, got), (want, expected) = (jax.jit(both, static_argnums=0)(f) for f in (mine, plain))
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


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


@settings(max_examples=5)
@given(st.tuples(*[st.integers(1, 4)] * 2), st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 1000))
def test_three_by_three_of_stride_one(halves, sizes, seed):
    """Even sides are computed by tiles of two by two."""
    batch, inputs, outputs = sizes
    same_gradients(
        lambda x, w: convolution(x, w, 1, HIGHEST),
        lambda x, w: plain_convolution(x, w, 1),
        normal(seed, batch, 2 * halves[0], 2 * halves[1], inputs),
        normal(seed + 1, 3, 3, inputs, outputs),
    )


def test_a_tile_by_hand():
    """Ones under a kernel of ones: a pixel counts its neighbours that are in the image."""
    y = convolution(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), 1, HIGHEST)
    np.testing.assert_allclose(y[0, :, :, 0], [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])


def test_rounding_stays_near_that_of_the_plain_convolution():
    x, w = normal(0, 2, 14, 14, 256), normal(1, 3, 3, 256, 256)
    exact = np.asarray(plain_convolution_in_float64(np.asarray(x), np.asarray(w)))
    scale = np.abs(exact).max()
    mine, plain = (
        np.abs(np.asarray(f(x, w)) - exact).max() / scale
        for f in (lambda x, w: convolution(x, w, 1, HIGHEST), lambda x, w: plain_convolution(x, w, 1))
    )
    assert mine < max(4 * plain, 2e-6)


@pytest.mark.parametrize(("side", "dtype"), [(8, "bfloat16"), (7, "float32")])
def test_bfloat16_and_odd_sides_have_no_tiles(side, dtype):
    """A tile's values are sums of pixels, for which bfloat16 has too few digits; no tile sticks out of the image."""
    x, w = normal(0, 1, side, 8, 3).astype(dtype), normal(1, 3, 3, 3, 4).astype(dtype)
    program = jax.jit(lambda x, w: convolution(x, w, 1, None)).lower(x, w).as_text()
    assert "stablehlo.convolution" in program and "dot_general" not in program


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
