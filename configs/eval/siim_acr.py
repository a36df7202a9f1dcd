"""SIIM-ACR Pneumothorax 2019: zero-shot classification of pneumothorax, and grounding by its masks.

  medslip evaluate --config configs/eval/siim_acr.py --checkpoint runs/a --out runs/a/siim_acr

Sex, age and view are in the DICOM files; data built from the PNG copies have none: --config.subgroups="()".
"""

from ml_collections import ConfigDict

from medslip_jax.evaluation import SUBGROUPS, default_protocol
from medslip_jax.experiment import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """No arguments."""
    parse_arg(arg)
    protocol = default_protocol()
    protocol.data.name, protocol.data.dir = "siim_acr", "data"
    protocol.class_map.Pneumothorax = "pneumothorax"
    protocol.grounding.classes = ("pneumothorax",)
    protocol.subgroups = SUBGROUPS
    return protocol
