"""The demo: MeDSLIP on the built-in chest phantom.

  medslip pretrain --config configs/phantom.py        what `make demo` runs: minutes on two CPU cores
  medslip pretrain --config configs/phantom.py:full   the longer run whose result the README reports
  medslip pretrain --config configs/phantom.py:tiny   seconds; shows that everything works, learns nothing

A short run from scratch learns slowly from the released initial values. Xavier weights, normalised patches and cosine
similarities together were enough; README has the measurements and what they leave open.
"""

from ml_collections import ConfigDict

from data_pipelines.phantom import FOCAL
from medslip_jax.experiment import default_config, parse_arg


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
    config.model.text_dim = 384
    config.model.dropout = 0.0
    config.model.linear_init = "xavier"
    config.model.patch_norm = "layer_norm"
    config.loss.similarity = "cosine"
    config.loss.alpha = config.loss.beta = 0.3
    config.books.tables = "centred"
    config.optim.schedule = "warmup_cosine"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 100
    config.optim.clip_norm = 1.0
    config.num_steps = 2000 if arg.full else 1600
    config.log_every, config.eval_every, config.save_every = 50, 400, 400
    config.eval.images = 400
    config.eval.focal = FOCAL
    if arg.tiny:
        config.num_steps, config.data.batch_size, config.data.image_size = 6, 8, 64
        config.log_every, config.eval_every, config.save_every = 2, 3, 3
        config.eval.images, config.eval.batch_size = 16, 8
    return config
