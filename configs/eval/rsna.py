"""RSNA Pneumonia 2018: zero-shot classification of pneumonia, and grounding on the images that have boxes.

  medslip evaluate --config configs/eval/rsna.py --checkpoint runs/a --out runs/a/rsna

For the released preprocessing build the data with {"image": {"equalise": "released_rsna"}} (SPEC 7). The images are
from NIH ChestX-ray14: a model that was pre-trained on that set has seen some of them.
"""

from ml_collections import ConfigDict

from medslip_jax.evaluation import SUBGROUPS, default_protocol
from medslip_jax.experiment import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """No arguments."""
    parse_arg(arg)
    protocol = default_protocol()
    protocol.data.name, protocol.data.dir = "rsna", "data"
    protocol.class_map.Pneumonia = "pneumonia"
    protocol.grounding.classes = ("pneumonia",)
    protocol.subgroups = SUBGROUPS
    return protocol
