"""The demo: MeDSLIP on the built-in chest phantom.

  medslip pretrain --config configs/phantom.py        what `make demo` runs: minutes on two CPU cores
  medslip pretrain --config configs/phantom.py:full   AdamW and more than twice the steps: `make demo SIZE=full`
  medslip pretrain --config configs/phantom.py:tiny   seconds; shows that everything works, learns nothing

What a short run from scratch needs, and why the two differ: docs/small_budget.md.
"""

from ml_collections import ConfigDict

from data_pipelines.phantom import FOCAL
from medslip_jax.experiment import default_config, parse_arg, set_short_run, shrink


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: full for the longer run, tiny for a smoke test."""
    arg = parse_arg(arg, full=False, tiny=False)
    config = default_config()
    config.data.name = "phantom"
    config.data.batch_size, config.data.image_size = 32, 128
    config.data.augment.randaugment_ops = 0
    config.model.backbone, config.model.trunk_width = "resnet18", 32
    config.model.embed_dim, config.model.decoder_ffn_dim = 128, 256
    set_short_run(config)
    if arg.full:
        config.model.decoder_layers = 2
        config.data.augment.scale = (0.7, 1.0)
        config.optim.warmup_steps = 100
        config.num_steps, config.eval_every, config.save_every = 1600, 400, 400
    else:
        config.model.decoder_layers, config.model.mask_activation = 1, "sigmoid"
        # Three passes over 8,000 images: nothing to augment against.
        config.data.augment.scale = config.data.augment.ratio = (1.0, 1.0)
        config.data.augment.flip = "none"
        config.optim.optimizer, config.optim.learning_rate, config.optim.warmup_steps = "muon", 3e-3, 50
        config.num_steps, config.eval_every, config.save_every = 750, 375, 375
    config.log_every = 50
    config.eval.images = 400
    config.eval.focal = FOCAL
    if arg.tiny:
        shrink(config)
    return config
