"""The ablations, on the phantom: one seed, one data set, one change at a time.

  medslip sweep --config configs/ablations.py --workdir runs/ablations          all of them, and a table
  medslip pretrain --config configs/ablations.py:variant=sigmoid_mask ...       one of them

600 steps with the settings of `phantom.py:full`: about nine CPU-minutes a variant on two x86 cores, two CPU-hours in
all.
"""

from pathlib import Path

from ml_collections import ConfigDict

from medslip_jax.errors import InputError
from medslip_jax.experiment import names_of, parse_arg, shrink

# Name -> what differs from `phantom.py:full` (both streams, mask without activation, alpha = beta = 0.3, a flip that
# exchanges sides). The two seeds say how far apart equal settings land.
VARIANTS: dict[str, dict] = {
    "base": {},
    "seed_1": {"seed": 1},
    "seed_2": {"seed": 2},
    "single_stream": {"model.streams": "pathology"},
    "without_mask": {"model.mask_activation": "off"},
    "sigmoid_mask": {"model.mask_activation": "sigmoid"},
    "without_proto_cl": {"loss.alpha": 0.0},
    "without_icl": {"loss.beta": 0.0},
    "existence_only": {"loss.alpha": 0.0, "loss.beta": 0.0},
    "alpha_1": {"loss.alpha": 1.0},
    "beta_1": {"loss.beta": 1.0},
    "flip_as_released": {"data.augment.flip": "as_released"},
    "flip_none": {"data.augment.flip": "none"},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: variant=NAME (base), tiny for a smoke test."""
    arg = parse_arg(arg, variant="base", tiny=False)
    if arg.variant not in VARIANTS:
        raise InputError(f"config argument variant={arg.variant}: one of {', '.join(VARIANTS)}")
    config = names_of(Path(__file__).with_name("phantom.py"))["get_config"]("full")
    config.num_steps = 600
    config.eval_every = config.save_every = 300
    config.eval.images = 200
    if arg.tiny:
        shrink(config)
    config.update_from_flattened_dict(VARIANTS[arg.variant])
    return config
