"""What config files change for runs of minutes, and of seconds."""

from ml_collections import ConfigDict


def set_short_run(config: ConfigDict) -> None:
    """What minutes of training from scratch need, for config files (docs/small_budget.md).

    Xavier weights, normalised patches and cosine similarities, no dropout, less weight on the contrastive losses, the
    shipped text tables centred, and a linear warm-up.
    """
    config.model.text_dim = 384
    config.model.linear_init, config.model.patch_norm, config.model.dropout = "xavier", "layer_norm", 0.0
    config.loss.similarity = "cosine"
    config.loss.alpha = config.loss.beta = 0.3
    config.books.tables = "centred"
    config.optim.schedule = "warmup_cosine"
    config.optim.learning_rate = 1e-3
    config.optim.clip_norm = 1.0


def shrink(config: ConfigDict) -> None:
    """Six steps on small images: the smoke test of a config file (`:tiny`)."""
    config.num_steps, config.data.batch_size, config.data.image_size = 6, 8, 64
    config.log_every, config.eval_every, config.save_every = 2, 3, 3
    config.eval.images, config.eval.batch_size = 16, 8


def shrink_to_phantom(config: ConfigDict) -> None:
    """`shrink`, with a tiny model, the shipped text tables and the phantom in place of data that nobody has at hand."""
    shrink(config)
    config.data.name, config.data.workers = "phantom", 0
    config.model.backbone, config.model.trunk_width, config.model.text_dim = "resnet18", 8, 384
    config.books.path = ""
