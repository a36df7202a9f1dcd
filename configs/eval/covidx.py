"""COVIDx CXR-4: COVID-19 as a class that no training named, asked for by a 76th query given as text (SPEC 7).

  medslip evaluate --config configs/eval/covidx.py --checkpoint runs/a --out runs/a/covidx

The text passes through the BERT that wrote the checkpoint's text tables; --encoder DIR where it is not found by its
name. Another wording is another protocol: --config.class_map.covid19.text="...".
"""

from ml_collections import ConfigDict

from data_pipelines.datasets.covidx import TARGET
from medslip_jax.evaluation import default_protocol
from medslip_jax.experiment import parse_arg

TEXT = (
    "COVID-19 is a viral infection of the lungs. It appears as hazy ground-glass opacities and patchy consolidation on "
    "both sides, mostly in the lower and outer parts of the lungs."
)


def get_config(arg: str | None = None) -> ConfigDict:
    """No arguments."""
    parse_arg(arg)
    protocol = default_protocol()
    protocol.data.name, protocol.data.dir = "covidx", "data"
    protocol.class_map = ConfigDict({TARGET: {"text": TEXT}})
    protocol.grounding.use = "off"
    return protocol
