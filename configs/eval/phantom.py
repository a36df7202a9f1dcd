"""The built-in phantom: 16 findings with boxes, the small ones averaged apart in the pointing game.

  medslip evaluate --config configs/eval/phantom.py --checkpoint runs/demo --out runs/demo/zero_shot

The same as `medslip evaluate` without --config for a checkpoint of configs/phantom.py.
"""

from ml_collections import ConfigDict

from data_pipelines.phantom import FOCAL
from medslip_jax.evaluation import default_protocol
from medslip_jax.experiment import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """No arguments."""
    parse_arg(arg)
    protocol = default_protocol()
    protocol.data.name = "phantom"
    protocol.grounding.focal = FOCAL
    return protocol
