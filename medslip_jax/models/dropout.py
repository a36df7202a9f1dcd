"""Dropout whose mask is a hash of each element's position.

JAX's generator spends about a hundred operations on a number, and twice where the backward pass draws again rather than
keep the mask. A mask needs no such quality. Like JAX's numbers, the hash of a position is the same however the array is
split over devices.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, UInt32


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al., 2014): zero at `rate`, else x / (1 - rate); draws from rng "dropout"."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "..."], *, train: bool) -> Float[Array, "..."]:
        if not train or self.rate == 0:
            return x
        keep = keep_mask(self.make_rng("dropout"), x.shape, rate=self.rate)
        return jnp.where(keep, x / (1 - self.rate), 0)


def keep_mask(key: Array, shape: tuple[int, ...], *, rate: float) -> Bool[Array, "..."]:
    """False with probability `rate` (to 2^-32), independently for every element.

    Where 32 bits do not count all elements, such as those of 65,536 images with 75 x 1024 numbers each, the leading
    axes count blocks with words of their own.

    Raises:
      ValueError: an axis, or the blocks, of more than 2^32.
    """
    first, second = _words(key)
    outer = next((i for i in range(len(shape)) if math.prod(shape[i:]) <= 2**32), len(shape))
    if outer:
        if outer == len(shape) or math.prod(shape[:outer]) > 2**32:
            raise ValueError(f"a mask of shape {shape} has more elements than 32 bits count")
        block = _positions(shape, range(outer))
        first, second = _mix(_mix(block) ^ first), _mix(_mix(block) + second)
    bits = _mix(_mix(_positions(shape, range(outer, len(shape))) ^ first) + second)
    return bits >= jnp.uint32(round(rate * 2**32))


def _positions(shape: tuple[int, ...], axes: range) -> UInt32[Array, "..."]:
    """Numbers of the elements along these neighbouring axes; the other axes have size 1."""
    own = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    position, stride = jnp.zeros(own, jnp.uint32), 1
    for axis in reversed(axes):
        position += jax.lax.broadcasted_iota(jnp.uint32, own, axis) * jnp.uint32(stride)
        stride *= shape[axis]
    return position


def _words(key: Array) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
    """Two words that depend on all of a key."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    words = data.reshape(-1, 2)
    mixed = jnp.zeros(2, jnp.uint32)
    for i in range(len(words)):
        mixed = _mix(mixed ^ words[i])
    return mixed[0], mixed[1]


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A bijection of 32 bits in which each bit of the input changes about half of the output's.

    Two multiplications between shifts, as in MurmurHash3's finaliser; the constants were found by search (issue 19 of
    github.com/skeeto/hash-prospector).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0xD35A2D97)
    return x ^ (x >> 15)
