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

    Raises:
      ValueError: more than 2^32 elements, whose positions would repeat.
    """
    if math.prod(shape) > 2**32:
        raise ValueError(f"a mask of shape {shape} has more elements than 32 bits count")
    first, second = _words(key)
    position = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        position += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
        stride *= shape[axis]
    bits = _mix(_mix(position ^ first) + second)
    return bits >= jnp.uint32(round(rate * 2**32))


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
