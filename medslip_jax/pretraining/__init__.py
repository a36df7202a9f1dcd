"""Pre-training: its data, its fixed parts, its validation."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.pretraining.run import pretrain
    from medslip_jax.pretraining.source import training_source
    from medslip_jax.pretraining.start import make_trainer

__all__ = ["make_trainer", "pretrain", "training_source"]
