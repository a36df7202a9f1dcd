"""The disentangling block, shared by pre-training and by the classifier that keeps it (SPEC 3.2, 3.3, 7).

Functions, not a module: they are called inside a compact scope, so that their parameters carry the same names there.
"""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.models.config import StreamsConfig
from medslip_jax.models.layers import Linear
from medslip_jax.models.query_decoder import LayerNorm


def split_streams(x: Float[Array, "b n c"], config: StreamsConfig) -> dict[str, Array]:
    """m = W x + b; pathology patches m x, anatomy patches (1 - m) x."""
    if config.mask_activation == "off":
        return {"pathology": x, "anatomy": x}
    mask = Linear(x.shape[-1], config.linear_init, dtype=config.dtype, name="mask_generator")(x)
    if config.mask_activation == "sigmoid":
        mask = jax.nn.sigmoid(mask)
    return {"pathology": mask * x, "anatomy": (1 - mask) * x}


def project_patches(x: Float[Array, "b n c"], config: StreamsConfig, *, stream: str) -> Float[Array, "b n d"]:
    """A stream's own Linear(C, C) -> ReLU -> Linear(C, D), and its norm if there is one."""
    c = config
    hidden = nn.relu(Linear(x.shape[-1], c.linear_init, dtype=c.dtype, name=f"patch_hidden_{stream}")(x))
    patches = Linear(c.embed_dim, c.linear_init, dtype=c.dtype, name=f"patch_out_{stream}")(hidden)
    return LayerNorm(name=f"patch_norm_{stream}")(patches) if c.patch_norm == "layer_norm" else patches
