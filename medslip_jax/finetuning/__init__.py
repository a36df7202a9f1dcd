"""A classifier or a U-Net from pre-trained weights."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.finetuning.data import known_split
    from medslip_jax.finetuning.results import test_once
    from medslip_jax.finetuning.run import finetune
    from medslip_jax.finetuning.start import make_tuner

__all__ = ["finetune", "known_split", "make_tuner", "test_once"]
