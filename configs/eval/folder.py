"""Your own images, built by the `folder` builder: every class that has labels, grounding where there are boxes.

  medslip evaluate --config configs/eval/folder.py --checkpoint runs/a --out runs/a/folder
  medslip evaluate --config configs/eval/folder.py:subgroups ...      with tables by sex, age band and view

The data set's own label names were mapped when it was built (`label_map`). A finding asked for in other words, with the
labels of a class as its truth: a file like this one with protocol.class_map = {"opacity": {"text": "..."}}.
"""

from ml_collections import ConfigDict

from medslip_jax.evaluation import SUBGROUPS, default_protocol
from medslip_jax.experiment import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    """Argument: subgroups, for a CSV whose `columns` name sex, age and view."""
    arg = parse_arg(arg, subgroups=False)
    protocol = default_protocol()
    protocol.data.name = "folder"
    if arg.subgroups:
        protocol.subgroups = SUBGROUPS
    return protocol
