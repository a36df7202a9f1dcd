"""What computed a result: versions, device, dtype. Two results that differ in these may differ in late digits."""

import importlib.metadata

import jax

from medslip_jax.version import __version__

_PACKAGES = ("jax", "numpy", "scikit-learn")


def computed_with(*, dtype: str) -> dict:
    """For metrics.json: {"medslip_jax", "versions", "device": {"platform", "kind", "count"}, "dtype"}.

    Args:
      dtype: of the model's activations, "float32" or "bfloat16".
    """
    device = jax.devices()[0]
    return {
        "medslip_jax": __version__,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "dtype": dtype,
    }
