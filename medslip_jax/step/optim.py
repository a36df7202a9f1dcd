"""Learning-rate schedules, AdamW with the released decay mask, and the moving average of parameters."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from medslip_jax.errors import InputError, check_choices


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Defaults are the released recipe (SPEC 5).

    Attributes:
      schedule: "released" (steps of the warm-up table inside epoch 0, then a cosine per epoch), "warmup_cosine"
        (linear warm-up from 0, then a cosine per step), or "constant".
      learning_rate: peak; with "released" it scales the whole published schedule, whose peak is 1e-4.
      final_learning_rate: end of the "warmup_cosine" schedule.
      warmup_steps: of "warmup_cosine".
      b1: AdamW's first moment decay.
      b2: AdamW's second moment decay.
      eps: AdamW's epsilon, added outside the square root.
      weight_decay: on tensors of two or more dimensions only: not on biases and norms.
      clip_norm: global gradient norm limit; 0 switches it off (released).
      ema_decay: of the moving average of parameters and batch statistics that evaluation uses; 0 switches it off
        (released).
      accumulate: parts that a batch is computed in, one after another, for less memory. Gradients are those of the
        whole batch but for BatchNorm, whose statistics are each part's own, and dropout, which draws anew.
    """

    schedule: Literal["released", "warmup_cosine", "constant"] = "released"
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    warmup_steps: int = 500
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.02
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    accumulate: int = 1

    def __post_init__(self):
        check_choices(self, section="optim")
        if self.accumulate < 1:
            raise InputError(f"optim.accumulate={self.accumulate}: must be at least 1")


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


def decay_mask(params) -> dict:
    """True for the tensors that weight decay touches: two or more dimensions (SPEC 5)."""
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def make_optimizer(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019), optionally after clipping."""
    adamw = optax.adamw(
        schedule,
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mask=decay_mask,
    )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw


def update_ema(ema, values, *, decay: float, step):
    """Moving average with a warm start: the effective decay is min(decay, (1 + step) / (10 + step))."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, v: e + (1 - decay) * (v - e), ema, values)
