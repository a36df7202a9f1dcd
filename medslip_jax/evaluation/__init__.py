"""How good a model is: protocols, scoring a split, zero-shot, grounding, results on disk."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from medslip_jax.evaluation.comparison import compare
    from medslip_jax.evaluation.prediction import predict
    from medslip_jax.evaluation.protocol import SUBGROUPS
    from medslip_jax.evaluation.protocol_files import default_protocol
    from medslip_jax.evaluation.result_files import read_results
    from medslip_jax.evaluation.run import evaluate

__all__ = ["SUBGROUPS", "compare", "default_protocol", "evaluate", "predict", "read_results"]
