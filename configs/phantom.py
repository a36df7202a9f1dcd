"""The demo: MeDSLIP on the built-in chest phantom.

  medslip pretrain --config configs/phantom.py        what `make demo` runs: minutes on two CPU cores
  medslip pretrain --config configs/phantom.py:full   the longer run whose result the README reports
  medslip pretrain --config configs/phantom.py:tiny   seconds; shows that everything works, learns nothing

A short run from scratch learns slowly from the released initial values. Xavier weights, normalised patches and cosine
similarities together were enough; docs/small_budget.md has the measurements and what they leave open.
"""

from ml_collections import ConfigDict

from data_pipelines.phantom import FOCAL
from medslip_jax.experiment import default_config, parse_arg, set_short_run, shrink


def get_config(arg: str | None = None) -> ConfigDict:
    """Arguments: full for the longer run, tiny for a smoke test."""
    arg = parse_arg(arg, full=False, tiny=False)
    config = default_config()
    config.data.name = "phantom"
    config.data.batch_size = 32
    config.data.image_size = 160 if arg.full else 128
    config.data.augment.scale = (0.7, 1.0)
    config.data.augment.randaugment_ops = 0
    config.model.backbone, config.model.trunk_width = "resnet18", 32
    config.model.embed_dim, config.model.decoder_ffn_dim, config.model.decoder_layers = 128, 256, 2
    set_short_run(config)
    config.optim.warmup_steps = 100
    config.num_steps = 2000 if arg.full else 1600
    config.log_every, config.eval_every, config.save_every = 50, 400, 400
    config.eval.images = 400
    config.eval.focal = FOCAL
    if arg.tiny:
        shrink(config)
    return config
