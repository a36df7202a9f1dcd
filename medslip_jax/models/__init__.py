"""Flax modules. `MeDSLIPConfig()` is the paper's ResNet-50 model."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.models.classifier import Classifier
    from medslip_jax.models.config import ClassifierConfig, MeDSLIPConfig, SegmenterConfig
    from medslip_jax.models.dual_stream import MeDSLIP
    from medslip_jax.models.segmenter import Segmenter

__all__ = ["Classifier", "ClassifierConfig", "MeDSLIP", "MeDSLIPConfig", "Segmenter", "SegmenterConfig"]
