"""Learning-rate schedules, optimisers with the released decay mask, and the moving average of parameters."""

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array

from medslip_jax.experiment.sections import OptimConfig


def released_schedule(steps_per_epoch: int, *, epochs: int = 100, peak: float = 1e-4) -> optax.Schedule:
    """The released schedule (SPEC 5): a staircase warm-up inside epoch 0, then one cosine value an epoch.

    At iterations 0, 100 .. 500 of epoch 0 the rate becomes 0.1, 0.28, 0.46, 0.64, 0.82 and 1 times the peak; epoch
    e >= 1 uses peak (0.1 + 0.45 (1 + cos(pi e / epochs))).
    """

    def schedule(step):
        step = jnp.asarray(step)
        epoch = step // steps_per_epoch
        stair = 0.1 + 0.18 * jnp.minimum(step // 100, 5)
        cosine = 0.1 + 0.45 * (1 + jnp.cos(jnp.pi * epoch / epochs))
        return peak * jnp.where(epoch == 0, stair, cosine)

    return schedule


def make_schedule(config: OptimConfig, *, num_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """The schedule that `config.schedule` names, step -> learning rate."""
    if config.schedule == "released":
        epochs = max(1, round(num_steps / steps_per_epoch))
        return released_schedule(steps_per_epoch, epochs=epochs, peak=config.learning_rate)
    if config.schedule == "constant":
        return optax.constant_schedule(config.learning_rate)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=min(config.warmup_steps, num_steps),
        decay_steps=max(num_steps, config.warmup_steps + 1),
        end_value=config.final_learning_rate,
    )


def decay_mask(params: dict) -> dict:
    """True for the tensors that weight decay touches: two or more dimensions (SPEC 5)."""
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def make_optimizer(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimiser that `config.optimizer` names, optionally after clipping."""
    optimizer = {"adamw": _adamw, "muon": _muon}[config.optimizer](config, schedule)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer) if config.clip_norm else optimizer


def _adamw(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019."""
    return optax.adamw(
        schedule,
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mask=decay_mask,
    )


def _muon(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Jordan et al., "Muon", 2024, in the form of Liu et al., "Muon is Scalable for LLM Training", 2025.

    Their scale of an update (0.2 root mean square) makes AdamW's learning rates fit. Biases and norms get AdamW with
    Nesterov's momentum, which matrices have, too.
    """
    return optax.contrib.muon(
        schedule,
        weight_decay=config.weight_decay,
        adam_b1=config.b1,
        adam_b2=config.b2,
        eps=config.eps,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=_matrices,
    )


def _matrices(params: dict) -> dict:
    """Every tensor of two or more dimensions as a matrix from all others to the last: a convolution's is (k k c, d)."""

    def matrix(p: Array):
        axes = tuple(range(p.ndim))
        return optax.contrib.MuonDimensionNumbers(axes[:-1], axes[-1:]) if p.ndim >= 2 else None

    return jax.tree.map(matrix, params)


def update_ema(ema: dict, values: dict, *, decay: float, step: Array) -> dict:
    """Moving average with a warm start: the effective decay is min(decay, (1 + step) / (10 + step))."""
    effective = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, v: e + (1 - effective) * (v - e), ema, values)
