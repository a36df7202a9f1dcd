"""Fine-tuned classification (SPEC 7): the whole ResNet, a linear probe, or the last blocks, on a share of the labels.

  medslip finetune --config configs/finetune_classification.py:data=rsna,fraction=0.01 --workdir runs/rsna_1 \
      --config.init_from=runs/mimic

`data=phantom` and `data=folder` take the small models of configs/phantom.py and configs/folder.py.
"""

from ml_collections import ConfigDict

from medslip_jax.errors import InputError
from medslip_jax.experiment import default_fine_tuning, parse_arg, shrink

TARGETS = {
    "nih_cxr14": (
        "atelectasis", "cardiomegaly", "effusion", "infiltrate", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "emphysema", "tail_abnorm_obs", "thicken", "hernia",
    ),
    "rsna": ("pneumonia",),
    "siim_acr": ("pneumothorax",),
    "covidx": ("covid19",),
    "folder": ("pneumonia",),
    "phantom": ("nodule", "mass", "opacity", "consolidation", "pneumonia", "pneumothorax", "effusion", "fracture"),
}  # fmt: skip


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: data=NAME, fraction=SHARE, tune=full|last_blocks|head, block to keep disentangling, tiny."""
    arg = parse_arg(arg, data="rsna", fraction=1.0, tune="full", block=False, tiny=False)
    if arg.data not in TARGETS:
        raise InputError(f"config argument data={arg.data}: one of {', '.join(TARGETS)}")
    config = default_fine_tuning("classifier")
    config.data.name, config.data.fraction, config.tune = arg.data, arg.fraction, arg.tune
    config.targets = TARGETS[arg.data]
    config.model.disentangle = "pathology" if arg.block else "none"
    config.model.last_stage = "layer3" if arg.tune == "head" else "layer4"
    # A probe has few parameters and starts at noise: it takes a higher rate.
    config.optim.learning_rate = 1e-3 if arg.tune == "head" else 1e-5
    if arg.data in ("phantom", "folder"):
        config.model.backbone, config.model.trunk_width = "resnet18", 32
        config.model.embed_dim, config.model.patch_norm, config.model.linear_init = 128, "layer_norm", "xavier"
        config.data.image_size = 128 if arg.data == "phantom" else 160
        config.data.batch_size = 32
        config.data.augment.scale, config.data.augment.randaugment_ops = (0.7, 1.0), 0
        config.optim.learning_rate = 3e-3 if arg.tune == "head" else 3e-4
        config.num_steps, config.eval_every, config.eval.images = 200, 40, 400
    if arg.tiny:
        shrink(config)
    return config
