"""The query decoder: text-derived queries read the patch grid (SPEC 3.6).

Pre-norm transformer decoder layers (Vaswani et al., "Attention Is All You Need", 2017) without positional
encodings and without a causal mask. The final LayerNorm is shared by both decoders, so it lives in the caller.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.dropout import Dropout
from medslip_jax.models.layers import Linear, Projection, affine, precision


class LayerNorm(nn.Module):
    """LayerNorm, eps 1e-5, in float32; the result has the input's dtype."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        y = nn.LayerNorm(epsilon=1e-5, dtype=jnp.float32, use_fast_variance=False, name="norm")(x)
        return jnp.asarray(y, x.dtype)


class Attention(nn.Module):
    """Multi-head attention; returns the mixed values and the softmax map averaged over heads (before dropout)."""

    config: MeDSLIPConfig

    @nn.compact
    def __call__(
        self, query: Float[Array, "b q d"], memory: Float[Array, "b n d"] | None = None, *, train: bool
    ) -> dict[str, Array]:
        """Reads `memory`, or without one the queries themselves."""
        c = self.config
        head_dim = c.embed_dim // c.decoder_heads

        def project(names: tuple[str, ...], x: Array) -> list[Float[Array, "b s h k"]]:
            # What reads the same input is one product: the input is read once.
            parts = [Projection(c.embed_dim, c.linear_init, name=name)(x.shape[-1]) for name in names]
            kernel, bias = (jnp.concatenate(arrays, -1) for arrays in zip(*parts, strict=True))
            y = affine(x, kernel, bias, dtype=c.dtype)
            y = y.reshape(*y.shape[:-1], len(names), c.decoder_heads, head_dim)
            return [y[..., i, :, :] for i in range(len(names))]

        if memory is None:
            q, k, v = project(("query", "key", "value"), query)
        else:
            (q,), (k, v) = project(("query",), query), project(("key", "value"), memory)
        q = q * head_dim**-0.5
        scores = jnp.einsum("bqhk,bnhk->bhqn", q, k, preferred_element_type=jnp.float32, precision=precision(c.dtype))
        weights = jax.nn.softmax(scores, axis=-1)
        dropped = Dropout(c.dropout)(weights, train=train)
        mixed = jnp.einsum("bhqn,bnhk->bqhk", jnp.asarray(dropped, v.dtype), v, precision=precision(c.dtype))
        mixed = mixed.reshape(*mixed.shape[:2], c.embed_dim)
        return {
            "output": Linear(c.embed_dim, c.linear_init, "zeros", c.dtype, name="out")(mixed),
            "map": weights.mean(axis=1),
        }


class DecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to the patches, feed-forward; each pre-norm and residual."""

    config: MeDSLIPConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b q d"], patches: Float[Array, "b n d"], *, train: bool) -> dict[str, Array]:
        c = self.config

        def drop(y: Array) -> Array:
            return Dropout(c.dropout)(y, train=train)

        y = LayerNorm(name="norm1")(x)
        x = x + drop(Attention(c, name="self_attention")(y, train=train)["output"])
        y = LayerNorm(name="norm2")(x)
        cross = Attention(c, name="cross_attention")(y, patches, train=train)
        x = x + drop(cross["output"])
        y = LayerNorm(name="norm3")(x)
        y = nn.relu(Linear(c.decoder_ffn_dim, c.linear_init, dtype=c.dtype, name="linear1")(y))
        y = Linear(c.embed_dim, c.linear_init, dtype=c.dtype, name="linear2")(drop(y))
        return {"features": x + drop(y), "map": cross["map"]}


class QueryDecoder(nn.Module):
    """`decoder_layers` layers; returns features before the shared norm (b q d) and float32 maps (b layers q n)."""

    config: MeDSLIPConfig

    @nn.compact
    def __call__(
        self, queries: Float[Array, "b q d"], patches: Float[Array, "b n d"], *, train: bool
    ) -> dict[str, Array]:
        maps = []
        for i in range(self.config.decoder_layers):
            layer = DecoderLayer(self.config, name=f"layer_{i}")(queries, patches, train=train)
            queries = layer["features"]
            maps.append(layer["map"])
        return {"features": queries, "attention": jnp.stack(maps, axis=1)}
