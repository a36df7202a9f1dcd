"""TrainState, its initial value, the pure steps, and the jit shell around them."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from medslip_jax import sharding
from medslip_jax.losses import LossConfig, medslip_loss
from medslip_jax.models import MeDSLIP, MeDSLIPConfig
from medslip_jax.optim import OptimConfig, make_optimizer, make_schedule, update_ema
from medslip_jax.text_books import TextBooks

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class TrainState(struct.PyTreeNode):
    """All that a step reads and writes. `ema`, {"params", "batch_stats"}, is None unless `ema_decay` is set."""

    step: Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    ema: dict | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepParts(abc.ABC):
    """What a step needs besides its arguments, fixed for a run; a subclass says what is trained, and with which loss.

    Attributes:
      optim: optimiser and schedule.
      num_steps: length of the run, for the schedule.
      steps_per_epoch: for the released schedule.
      seed: the root key; every random stream is folded from it and the step.
    """

    optim: OptimConfig
    num_steps: int
    steps_per_epoch: int
    seed: int = 0

    @abc.abstractmethod
    def init_variables(self, key: PRNGKeyArray, image: Float[Array, "1 h w 3"]) -> dict[str, dict]:
        """{"params", "batch_stats"} before training."""

    @abc.abstractmethod
    def loss_terms(self, variables: Mapping, batch: Mapping[str, Array], key: PRNGKeyArray) -> tuple[Array, dict, dict]:
        """(total, {name: term}, new batch statistics) of one batch, with dropout and batch statistics on."""

    @functools.cached_property
    def schedule(self) -> optax.Schedule:
        return make_schedule(self.optim, num_steps=self.num_steps, steps_per_epoch=self.steps_per_epoch)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.optim, self.schedule)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer(StepParts):
    """Pre-training.

    Attributes:
      model: the Flax module's config.
      loss: weights and options of the losses.
      books: the two text tables.
    """

    model: MeDSLIPConfig
    loss: LossConfig
    books: TextBooks

    def init_variables(self, key: PRNGKeyArray, image: Float[Array, "1 h w 3"]) -> dict[str, dict]:
        return MeDSLIP(self.model).init(key, image, self.books.pathology, self.books.anatomy)

    def loss_terms(self, variables: Mapping, batch: Mapping[str, Array], key: PRNGKeyArray) -> tuple[Array, dict, dict]:
        """The losses of SPEC 4 on {"image": uint8 b h w, "matrix": int8 b a p}."""
        books = self.books.pathology, self.books.anatomy
        out, updated = MeDSLIP(self.model).apply(
            variables,
            normalise(batch["image"]),
            *books,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.fold_in(key, 0)},
        )
        total, terms = medslip_loss(out, batch["matrix"], *books, rng=jax.random.fold_in(key, 1), config=self.loss)
        return total, terms, updated["batch_stats"]


def normalise(image: UInt8[Array, "b h w"]) -> Float[Array, "b h w 3"]:
    """Grey uint8 -> three channels in [0, 1], then ImageNet mean and standard deviation (SPEC 3.1)."""
    scaled = jnp.asarray(image, jnp.float32)[..., None] / 255
    mean, std = (jnp.array(v).reshape(1, 1, 1, 3) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (scaled - mean) / std


def init_state(trainer: StepParts, *, image_size: int) -> TrainState:
    """The state before step 0; a pure function of `trainer.seed`."""
    image = jnp.zeros((1, image_size, image_size, 3))
    variables = trainer.init_variables(jax.random.fold_in(jax.random.key(trainer.seed), 0), image)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=trainer.optimizer.init(params),
        ema=jax.tree.map(jnp.copy, dict(variables)) if trainer.optim.ema_decay else None,
    )


def train_step(
    trainer: StepParts, state: TrainState, batch: Mapping[str, Array]
) -> tuple[TrainState, dict[str, Array]]:
    """One update on a batch of what `trainer.loss_terms` reads; returns the new state and scalar metrics."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(trainer.seed), 1), state.step)

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        total, terms, batch_stats = trainer.loss_terms(variables, batch, key)
        return total, (terms, batch_stats)

    (total, (terms, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = trainer.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    decay, averaged = trainer.optim.ema_decay, {"params": params, "batch_stats": batch_stats}
    state_after = TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=update_ema(state.ema, averaged, decay=decay, step=state.step) if decay else None,
    )
    metrics = {
        "loss": total,
        **terms,
        "gradient_norm": optax.global_norm(grads),
        "learning_rate": jnp.asarray(trainer.schedule(state.step), jnp.float32),
    }
    return state_after, metrics


def eval_step(
    trainer: Trainer,
    variables: Mapping,
    batch: Mapping[str, Array],
    *,
    extra_queries: Float[Array, "k t"] | None = None,
) -> dict[str, dict[str, Array]]:
    """Per stream: "probability" of presence (b q), "attention" averaged over the layers (b q n), "features" (b q d).

    Rows of `extra_queries` follow the pathology table's, so that stream has 75 + k queries.
    """
    books = trainer.books
    pathology = books.pathology if extra_queries is None else jnp.concatenate([books.pathology, extra_queries])
    out = MeDSLIP(trainer.model).apply(variables, normalise(batch["image"]), pathology, books.anatomy)
    return {
        stream: {
            "probability": jax.nn.softmax(o["logits"])[..., 1],
            "attention": o["attention"].mean(axis=1),
            "features": o["features"],
        }
        for stream, o in out.items()
    }


def eval_variables(state: TrainState) -> dict[str, dict]:
    """What evaluation runs: the averages if there are any."""
    return {"params": state.params, "batch_stats": state.batch_stats} if state.ema is None else state.ema


def with_variables(state: TrainState, variables: Mapping) -> TrainState:
    """A state that starts from given {"params", "batch_stats"}, in the placement of `state`; so do its averages."""

    def place(old: Mapping, new: Mapping):
        # A copy: the step donates its state, and the caller's arrays are not ours to give away.
        return jax.tree.map(lambda x, y: jax.device_put(jnp.array(y, x.dtype), x.sharding), dict(old), dict(new))

    known = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
    return state.replace(
        params=place(state.params, known["params"]),
        batch_stats=place(state.batch_stats, known["batch_stats"]),
        # Placed once more, as nothing may be donated twice.
        ema=None if state.ema is None else place(state.ema, known),
    )


def jit_init(trainer: StepParts, mesh: Mesh, *, image_size: int) -> Callable[[], TrainState]:
    """`init_state`, made directly in the placement that the steps use."""
    make = functools.partial(init_state, trainer, image_size=image_size)
    return jax.jit(make, out_shardings=sharding.state_sharding(mesh, jax.eval_shape(make)))


def jit_train_step(trainer: StepParts, mesh: Mesh, state: TrainState) -> Callable:
    """`train_step` over the mesh: batch split over all devices, state by `sharding.state_sharding`, donated."""
    placement = sharding.state_sharding(mesh, state)
    return jax.jit(
        functools.partial(train_step, trainer),
        in_shardings=(placement, sharding.batch_sharding(mesh)),
        out_shardings=(placement, sharding.replicated(mesh)),
        donate_argnums=0,
    )
