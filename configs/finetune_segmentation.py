"""Fine-tuned segmentation (SPEC 7): a U-Net on the pre-trained trunk, on a share of the masks.

  medslip finetune --config configs/finetune_segmentation.py:data=siim_acr,fraction=0.1 --workdir runs/siim_10 \
      --config.init_from=runs/mimic

`data=phantom` (effusions and masses) and `data=folder` (lungs) take the small models of those configs.
"""

from ml_collections import ConfigDict

from medslip_jax.errors import InputError
from medslip_jax.experiment import default_fine_tuning, parse_arg, shrink

# A lung mask may be drawn whole or a side at a time.
TARGETS = {
    "siim_acr": ("pneumothorax",),
    "folder": ("lungs=left_lung_unspec+right_lung_unspec+parenchymal",),
    "phantom": ("effusion", "mass"),
}


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: data=NAME, fraction=SHARE, tune=full|last_blocks, tiny."""
    arg = parse_arg(arg, data="siim_acr", fraction=1.0, tune="full", tiny=False)
    if arg.data not in TARGETS:
        raise InputError(f"config argument data={arg.data}: one of {', '.join(TARGETS)}")
    config = default_fine_tuning("segmenter")
    config.data.name, config.data.fraction, config.tune = arg.data, arg.fraction, arg.tune
    config.targets = TARGETS[arg.data]
    if arg.data in ("phantom", "folder"):
        config.model.backbone, config.model.trunk_width = "resnet18", 32
        config.data.image_size = 128 if arg.data == "phantom" else 160
        config.data.batch_size = config.eval.batch_size = 16
        config.data.augment.scale, config.data.augment.randaugment_ops = (0.7, 1.0), 0
        # From scratch, 1e-3 needs thousands of steps before masks begin to fit.
        config.optim.learning_rate = 1e-2
        config.num_steps, config.eval_every, config.eval.images = 400, 80, 200
    if arg.tiny:
        shrink(config)
    return config
