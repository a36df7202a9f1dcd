"""MeDSLIP on JAX: medical vision-language pre-training for TPU and GPU.

Public names are loaded on first use, so that data workers, which need only the vocabulary, do not import JAX, and
the command line is soon where it minds Ctrl-C.

>>> import medslip_jax
>>> medslip_jax.MeDSLIPConfig(backbone="resnet18").embed_dim
256
"""

import importlib

from medslip_jax.version import __version__

_LAZY = {
    "InputError": "medslip_jax.errors",
    "MeDSLIP": "medslip_jax.models",
    "MeDSLIPConfig": "medslip_jax.models",
    "medslip_loss": "medslip_jax.step.losses",
    "load": "medslip_jax.weights.loading",
    "from_torch": "medslip_jax.weights.torch.conversion",
    "to_torch": "medslip_jax.weights.torch.conversion",
}

__all__ = ["InputError", "MeDSLIP", "MeDSLIPConfig", "__version__", "from_torch", "load", "medslip_loss", "to_torch"]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
