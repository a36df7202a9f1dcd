"""The config of a run: the default trees, config files, and the sections as dataclasses."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.experiment.config_files import (
        default_config,
        default_fine_tuning,
        load_config,
        names_of,
        parse_arg,
    )
    from medslip_jax.experiment.sections import FineTuning, Pretraining
    from medslip_jax.experiment.short_runs import set_short_run, shrink, shrink_to_phantom
    from medslip_jax.experiment.trees import differences, read, tree_of

__all__ = ["FineTuning", "Pretraining", "default_config", "default_fine_tuning", "differences", "load_config"]
__all__ += ["names_of", "parse_arg", "read", "set_short_run", "shrink", "shrink_to_phantom", "tree_of"]
