"""The demo: MeDSLIP on the built-in chest phantom.

  medslip pretrain --config configs/phantom.py        what `make demo` runs: minutes on two CPU cores
  medslip pretrain --config configs/phantom.py:full   the longer run whose result the README reports
  medslip pretrain --config configs/phantom.py:tiny   seconds; shows that everything works, learns nothing
"""

from ml_collections import ConfigDict

from medslip_jax.experiment import default_config, parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    arg = parse_arg(arg, full=False, tiny=False)
    config = default_config()
    config.data.name = "phantom"
    config.data.batch_size = 32
    config.data.image_size = 128
    config.data.augment.scale = (0.7, 1.0)
    config.data.augment.flip = "swap_sides"
    config.data.augment.randaugment_ops = 0
    config.model.backbone = "resnet18"
    config.model.trunk_width = 32
    config.model.embed_dim = 128
    config.model.decoder_ffn_dim = 256
    config.model.decoder_layers = 2
    config.model.text_dim = 384
    config.books.tables = "centred"
    config.optim.schedule = "warmup_cosine"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 100
    config.num_steps = 1500
    config.log_every, config.eval_every, config.save_every = 50, 300, 500
    config.eval.images = 256
    if arg.tiny:
        config.num_steps, config.data.batch_size, config.data.image_size = 6, 8, 64
        config.log_every, config.eval_every, config.save_every = 2, 3, 3
        config.eval.images, config.eval.batch_size = 16, 8
    return config
