"""NIH ChestX-ray14: 14 classes on the official test list, 25,596 images; boxes of 8 classes for grounding.

  medslip evaluate --config configs/eval/nih_cxr14.py --checkpoint runs/a --out runs/a/nih_cxr14

Classes map to queries as in SPEC 7. The labels are mined from reports. A model that was pre-trained on this set has
seen its train split, never the official test list.
"""

from ml_collections import ConfigDict

from data_pipelines.datasets.nih_cxr14_lists import CLASSES
from medslip_jax.evaluation import SUBGROUPS, default_protocol
from medslip_jax.experiment import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """No arguments."""
    parse_arg(arg)
    protocol = default_protocol()
    protocol.data.name, protocol.data.dir = "nih_cxr14", "data"
    protocol.class_map = ConfigDict(CLASSES)
    protocol.subgroups = SUBGROUPS
    return protocol
