"""The stem's max-pooling, with a gradient of comparisons: only a TPU gets XLA's select-and-scatter.

On a CPU select-and-scatter compares index tensors of the image's size (225 ms a step, 72 by comparisons), on a GPU it
adds with atomics, so that runs differ in their last bits. On a TPU it is an operation of the chip, and nothing was
measured in favour of another.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

# Places of the three values of a window along an axis: before, at and after the even index 2i.
_BEFORE, _AT = 0, 1


@jax.custom_vjp
def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """3 x 3 windows, stride 2, one row and column of padding, as torchvision's; ties go to the first in row order."""
    return _max_pool(x)


def _max_pool(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def _forward(x):
    return max_pool(x), x


def _backward(x, dy):
    def plain(x, dy):
        return jax.vjp(_max_pool, x)[1](dy)[0]

    return (jax.lax.platform_dependent(x, dy, tpu=plain, default=_by_comparisons),)


max_pool.defvjp(_forward, _backward)


def _by_comparisons(x, dy):
    """Three comparisons along each axis: the columns of every row first, then the rows, is the order of the window."""
    h, w = x.shape[1:3]
    # An odd side gets the row that its last window would see as padding.
    even = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), constant_values=-jnp.inf)
    columns = _along(even, axis=2)
    return _spread(even, _spread(columns, dy, axis=1), axis=2)[:, :h, :w]


def _thirds(x: Array, *, axis: int) -> list[Array]:
    """The values before, at and after every even index."""
    pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    at, after = (jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    first = jnp.full_like(jax.lax.slice_in_dim(after, 0, 1, axis=axis), -jnp.inf)
    before = jnp.concatenate([first, jax.lax.slice_in_dim(after, 0, after.shape[axis] - 1, axis=axis)], axis)
    return [before, at, after]


def _along(x: Array, *, axis: int) -> Array:
    before, at, after = _thirds(x, axis=axis)
    return jnp.maximum(jnp.maximum(before, at), after)


def _spread(x: Array, dy: Array, *, axis: int) -> Array:
    """dy of the maxima along `axis` back to where they were."""
    before, at, after = _thirds(x, axis=axis)
    place = jnp.where((before >= at) & (before >= after), _BEFORE, jnp.where(at >= after, _AT, 2))
    to_before = jnp.where(place == _BEFORE, dy, 0)
    last = jnp.zeros_like(jax.lax.slice_in_dim(dy, 0, 1, axis=axis))
    from_next = jnp.concatenate([jax.lax.slice_in_dim(to_before, 1, dy.shape[axis], axis=axis), last], axis)
    pairs = jnp.stack([jnp.where(place == _AT, dy, 0), jnp.where(place == 2, dy, 0) + from_next], axis + 1)
    return pairs.reshape(x.shape)
