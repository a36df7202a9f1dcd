"""Your own images: a data set built by the `folder` builder from a CSV and an image folder.

  medslip data build folder --root DIR --options configs/folder_cxr_sample.json --out data
  medslip pretrain --config configs/folder.py --workdir runs/folder

A small model at 160 pixels for a few hundred to a few thousand images on a small machine; `folder.py:resnet50` is the
paper's model at 224 pixels with its augmentation, for an accelerator. Initial values and similarities are those that
short runs from scratch need (configs/phantom.py says why).
"""

from ml_collections import ConfigDict

from medslip_jax.experiment import default_config, parse_arg, set_short_run, shrink


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: resnet50 for the paper's model; tiny shrinks all to a smoke test."""
    arg = parse_arg(arg, resnet50=False, tiny=False)
    config = default_config()
    config.data.name = "folder"
    config.data.batch_size = 32
    set_short_run(config)
    config.optim.warmup_steps = 50
    config.num_epochs = 30
    config.log_every, config.eval_every, config.save_every = 20, 100, 200
    if not arg.resnet50:
        config.data.image_size = 160
        config.data.augment.scale = (0.6, 1.0)
        config.data.augment.randaugment_magnitude = 4.0
        config.model.backbone, config.model.trunk_width = "resnet18", 32
        config.model.embed_dim, config.model.decoder_ffn_dim, config.model.decoder_layers = 128, 256, 2
    if arg.tiny:
        shrink(config)
    return config
