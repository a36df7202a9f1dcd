"""A model as StableHLO and ONNX, for serving."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.weights.export.exporting import export
    from medslip_jax.weights.export.stablehlo import serving_function

__all__ = ["export", "serving_function"]
