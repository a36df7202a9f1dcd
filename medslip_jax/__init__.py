"""MeDSLIP on JAX: medical vision-language pre-training for TPU and GPU.

Public names are loaded on first use, so that data workers, which need only the vocabulary, do not import JAX, and
the command line is soon where it minds Ctrl-C.

>>> import medslip_jax
>>> medslip_jax.MeDSLIPConfig(backbone="resnet18").embed_dim
256
"""

from etils import epy

from medslip_jax.version import __version__

with epy.lazy_api_imports(globals()):
    from medslip_jax.errors import InputError
    from medslip_jax.models import MeDSLIP, MeDSLIPConfig
    from medslip_jax.step.losses import medslip_loss
    from medslip_jax.weights.loading import load
    from medslip_jax.weights.torch.conversion import from_torch, to_torch

__all__ = ["InputError", "MeDSLIP", "MeDSLIPConfig", "__version__", "from_torch", "load", "medslip_loss", "to_torch"]
