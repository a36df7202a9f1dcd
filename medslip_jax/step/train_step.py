"""TrainState, its initial value, the pure steps, and the jit shell around them."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.models import MeDSLIP, MeDSLIPConfig
from medslip_jax.parallel import sharding
from medslip_jax.step.losses import draw_all_negatives, loss_counts, medslip_loss
from medslip_jax.step.optim import make_optimizer, make_schedule, update_ema
from medslip_jax.text.books import TextBooks

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
      norm_groups: of consecutive images of a batch, each with BatchNorm statistics of its own; `loss_terms` hands it
        to the module.
    """

    optim: OptimConfig
    num_steps: int
    steps_per_epoch: int
    seed: int = 0
    norm_groups: int = 1

    @abc.abstractmethod
    def init_variables(self, key: PRNGKeyArray, image: Float[Array, "1 h w 3"]) -> dict[str, dict]:
        """{"params", "batch_stats"} before training."""

    @abc.abstractmethod
    def whole_batch(self, batch: Mapping[str, Array], key: PRNGKeyArray) -> tuple[dict, dict[str, Array]]:
        """What a part of a batch cannot know: (the batch with what is drawn for all its rows, {term: its count})."""

    @abc.abstractmethod
    def loss_terms(
        self, variables: Mapping, batch: Mapping, *, key: PRNGKeyArray, counts: Mapping[str, Array]
    ) -> tuple[Array, dict, dict]:
        """(total, {name: term}, new batch statistics) of a batch or a part of one, with dropout and batch statistics.

        Args:
          variables: {"params", "batch_stats"}.
          batch: rows of `whole_batch`'s first result.
          key: of this part's dropout.
          counts: its second; totals and terms of the parts add up to those of the batch.
        """

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
        return dict(MeDSLIP(self.model).init(key, image, self.books.pathology, self.books.anatomy))

    def whole_batch(self, batch: Mapping[str, Array], key: PRNGKeyArray) -> tuple[dict, dict[str, Array]]:
        negatives = draw_all_negatives(jax.random.fold_in(key, 1), batch["matrix"])
        return {**batch, "negatives": negatives}, loss_counts(batch["matrix"], config=self.loss)

    def loss_terms(
        self, variables: Mapping, batch: Mapping, *, key: PRNGKeyArray, counts: Mapping[str, Array]
    ) -> tuple[Array, dict, dict]:
        """The losses of SPEC 4 on {"image": uint8 b h w, "matrix": int8 b a p, "negatives"}."""
        books: tuple[Any, Any] = self.books.pathology, self.books.anatomy
        out, updated = MeDSLIP(self.model, self.norm_groups).apply(
            variables, normalise(batch["image"]), *books, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        total, terms = medslip_loss(
            out, batch["matrix"], *books, negatives=batch["negatives"], config=self.loss, counts=counts
        )
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
    trainer: StepParts,
    state: TrainState,
    batch: Mapping[str, Array],
    *,
    gather: Callable[[dict], dict] = lambda params: params,
) -> tuple[TrainState, dict[str, Array]]:
    """One update on a batch of what the loader gives; returns the new state and scalar metrics.

    `gather` makes parameters that are split over devices whole for the forward and backward pass.
    """
    (total, (terms, batch_stats)), grads = _gradients(trainer, state.replace(params=gather(state.params)), batch)
    updates, opt_state = trainer.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    decay, averaged = trainer.optim.ema_decay, {"params": params, "batch_stats": batch_stats}
    state_after = TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=None if state.ema is None else update_ema(state.ema, averaged, decay=decay, step=state.step),
    )
    metrics = {
        "loss": total,
        **terms,
        "gradient_norm": optax.global_norm(grads),
        "learning_rate": jnp.asarray(trainer.schedule(state.step), jnp.float32),
    }
    return state_after, metrics


def _gradients(trainer: StepParts, state: TrainState, batch: Mapping[str, Array]) -> tuple:
    """((total, (terms, new batch statistics)), gradients) of a batch, in `optim.accumulate` parts."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(trainer.seed), 1), state.step)
    batch, counts = trainer.whole_batch(batch, key)

    def loss_fn(params, batch_stats, part, key):
        variables = {"params": params, "batch_stats": batch_stats}
        total, terms, batch_stats = trainer.loss_terms(variables, part, key=key, counts=counts)
        return total, (terms, batch_stats)

    of_part = jax.value_and_grad(loss_fn, has_aux=True)
    dropout = jax.random.fold_in(key, 0)
    if trainer.optim.accumulate == 1:
        return of_part(state.params, state.batch_stats, batch, dropout)

    def add(sums, part_and_key):
        (total, (terms, batch_stats)), grads = of_part(state.params, sums["batch_stats"], *part_and_key)
        values = {"total": total, "terms": terms, "grads": grads}
        return {**jax.tree.map(jnp.add, {k: sums[k] for k in values}, values), "batch_stats": batch_stats}, None

    parts = _parts(batch, trainer.optim.accumulate), jax.random.split(dropout, trainer.optim.accumulate)
    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(lambda: of_part(state.params, state.batch_stats, *first))
    (total, (terms, _)), grads = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    start = {"total": total, "terms": terms, "grads": grads, "batch_stats": state.batch_stats}
    sums, _ = jax.lax.scan(add, start, parts)
    return (sums["total"], (sums["terms"], sums["batch_stats"])), sums["grads"]


def _parts(batch: Mapping, count: int) -> dict:
    """Arrays (b, ...) -> (count, b / count, ...); part i has rows i, i + count, ... so that no device waits."""
    return jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), dict(batch))


def eval_step(
    trainer: Trainer,
    variables: Mapping,
    batch: Mapping[str, Array],
    *,
    extra_queries: Float[Array | np.ndarray, "k t"] | None = None,
) -> dict[str, dict[str, Array]]:
    """Per stream: "probability" of presence (b q), "attention" averaged over the layers (b q n), "features" (b q d).

    `variables` are {"params", "batch_stats"} or, faster, what `models.folding.fold` makes of them.

    Rows of `extra_queries` follow the pathology table's, so that stream has 75 + k queries.
    """
    books = trainer.books
    pathology = books.pathology if extra_queries is None else jnp.concatenate([books.pathology, extra_queries])
    out: Any = MeDSLIP(trainer.model).apply(variables, normalise(batch["image"]), pathology, books.anatomy)
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
    known = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
    return state.replace(
        params=sharding.place(known["params"], like=state.params),
        batch_stats=sharding.place(known["batch_stats"], like=state.batch_stats),
        ema=None if state.ema is None else sharding.place(known, like=dict(state.ema)),
    )


def jit_init(trainer: StepParts, mesh: Mesh, *, image_size: int) -> Callable[[], TrainState]:
    """`init_state`, made directly in the placement that the steps use."""
    make = functools.partial(init_state, trainer, image_size=image_size)
    return jax.jit(make, out_shardings=sharding.state_sharding(mesh, jax.eval_shape(make)))


def jit_train_step(trainer: StepParts, mesh: Mesh, state: TrainState) -> jax.stages.Wrapped:
    """`train_step` over the mesh: batch split over all devices, state by `sharding.state_sharding`, donated."""
    placement = sharding.state_sharding(mesh, state)

    def gather(params: dict) -> dict:
        # At once: left to itself, the partitioner moves activations to where the split parameters are.
        return jax.lax.with_sharding_constraint(params, sharding.replicated(mesh))

    return jax.jit(
        functools.partial(train_step, trainer, gather=gather),
        in_shardings=(placement, sharding.batch_sharding(mesh)),
        out_shardings=(placement, sharding.replicated(mesh)),
        donate_argnums=0,
    )
