"""A model that travels: read, written, converted, fitted to another."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.weights.converting import convert
    from medslip_jax.weights.loading import Pretrained, load
    from medslip_jax.weights.saving import save_pretrained
    from medslip_jax.weights.transfer import fit

__all__ = ["Pretrained", "convert", "fit", "load", "save_pretrained"]
