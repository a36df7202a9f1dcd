"""Flax modules. `MeDSLIPConfig()` is the paper's ResNet-50 model."""

from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.dual_stream import MeDSLIP

__all__ = ["MeDSLIP", "MeDSLIPConfig"]
