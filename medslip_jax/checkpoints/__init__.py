"""A run's checkpoints; the only room that knows Orbax."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.checkpoints.best import Best
    from medslip_jax.checkpoints.manager import Checkpoints
    from medslip_jax.checkpoints.reading import (
        BOOKS,
        find_checkpoint,
        find_latest,
        read_config,
        read_info,
        read_variables,
    )
    from medslip_jax.checkpoints.writing import write_model

__all__ = ["BOOKS", "Best", "Checkpoints", "find_checkpoint", "find_latest", "read_config", "read_info"]
__all__ += ["read_variables", "write_model"]
