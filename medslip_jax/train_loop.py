"""The training loop: restore, then for every step: evaluate, save, next batch, step.

That order is the condition for exact resume: what is saved at step k is the state after k updates and a loader that
has handed out k batches, nothing in between.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.loader import Loader
from medslip_jax import sharding
from medslip_jax.checkpoint import Checkpoints
from medslip_jax.errors import InputError
from medslip_jax.train_step import StepParts, TrainState, jit_init, jit_train_step, with_variables
from medslip_jax.writers import Means, Writers

Validate = Callable[[TrainState], Mapping[str, float]]


def train(
    trainer: StepParts,
    loader: Loader,
    *,
    config: ConfigDict,
    workdir: str | Path,
    mesh: jax.sharding.Mesh,
    initial: Mapping | None = None,
    validate: Validate | None = None,
    stop_after: int | None = None,
) -> TrainState:
    """Trains to `trainer.num_steps`, resuming from the newest checkpoint in `workdir`.

    Args:
      trainer: the run's fixed parts.
      loader: training batches; its state is saved and restored.
      config: written into every checkpoint; log_every, eval_every, save_every and keep are read here.
      workdir: metrics and checkpoints go here.
      mesh: where the steps run.
      initial: {"params", "batch_stats"} of a run that starts, in place of random ones.
      validate: state -> numbers to log; called every `eval_every` steps and at the end.
      stop_after: ends after this many steps in all, with a checkpoint.

    Returns:
      The last state.

    Raises:
      InputError: a loss is NaN or infinite, or the checkpoint belongs to another config.
    """
    init = jit_init(trainer, mesh, image_size=config.data.image_size)
    checkpoints = Checkpoints(workdir, keep=config.keep)
    restored = _restore(checkpoints, init, mesh, config, initial=initial)
    state, start = restored["state"], restored["step"]
    step_fn = jit_train_step(trainer, mesh, state)
    last = trainer.num_steps if stop_after is None else min(stop_after, trainer.num_steps)
    writers = Writers(workdir, num_steps=trainer.num_steps, first_step=start, enabled=jax.process_index() == 0)
    log = _LateMetrics(writers, config, num_steps=trainer.num_steps, window=restored["window"])
    loader.set_state(restored["loader"])
    try:
        for step in range(start, last + 1):
            due = _due(step, start=start, stop=last, num_steps=trainer.num_steps, config=config)
            if due["eval"] and validate is not None:
                log.flush()
                writers.write(step, validate(state))
            if due["save"]:
                # A state after a bad step must not replace a good checkpoint, so its metrics are read first.
                log.flush()
                checkpoints.save(state, step=step, loader_state=loader.get_state() | log.state(), config=config)
            if any(due.values()):
                writers.restart_clock(step)
            if step == last:
                break
            batch = sharding.put_batch(mesh, next(loader))
            state, metrics = step_fn(state, batch)
            log.push(step + 1, metrics)
        checkpoints.wait()
    finally:
        writers.close()
        checkpoints.close()
        loader.close()
    return state


def _restore(
    checkpoints: Checkpoints, init: Callable, mesh: jax.sharding.Mesh, config: ConfigDict, *, initial: Mapping | None
) -> dict:
    """{"state", "step", "loader", "window"} of the newest checkpoint, or of a run that starts."""
    if checkpoints.latest() is None:
        state = init() if initial is None else with_variables(init(), initial)
        return {"state": state, "step": 0, "loader": {"batch": 0}, "window": {}}
    shapes = jax.eval_shape(init)
    template = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, sharding.state_sharding(mesh, shapes)
    )
    restored = checkpoints.restore(template, config=config)
    return restored | {"window": restored["loader"].pop("window", {})}


def _due(step: int, *, start: int, stop: int, num_steps: int, config: ConfigDict) -> dict[str, bool]:
    """Both fall on multiples and on the run's end, saving also on an early stop; neither on the step it starts from."""

    def at(every: int, ends: set[int]) -> bool:
        return step > start and (step in ends or (every > 0 and step % every == 0))

    return {"eval": at(config.eval_every, {num_steps}), "save": at(config.save_every, {num_steps, stop})}


class _LateMetrics:
    """Reads each step's metrics one step late, so that the device never waits for the host."""

    def __init__(self, writers: Writers, config: ConfigDict, *, num_steps: int, window: Mapping):
        self._writers, self._every, self._images = writers, config.log_every, config.data.batch_size
        self._num_steps = num_steps
        self._pending: tuple[int, Mapping] | None = None
        self._first = True
        self._means = Means()
        self._means.restore(window)

    def state(self) -> dict:
        """The unfinished window of means, so that a resumed run logs the rows of the uninterrupted one."""
        return {"window": self._means.state()}

    def push(self, step: int, metrics: Mapping) -> None:
        self.flush()
        self._pending = (step, metrics)

    def flush(self) -> None:
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        values = {name: float(np.asarray(v)) for name, v in jax.device_get(metrics).items()}
        # A finite loss can come with an infinite gradient, and then the parameters are already lost.
        bad = ", ".join(f"{name}={v}" for name, v in values.items() if not math.isfinite(v))
        if bad:
            raise InputError(
                f"step {step}: the loss or its gradient is not finite ({bad}); nothing was saved since; "
                "try a lower --config.optim.learning_rate or --config.optim.clip_norm=1"
            )
        if self._first:
            self._first = False
            self._writers.restart_clock(step)
        self._means.add(values)
        self._writers.advance(values["loss"])
        if step == self._num_steps or (self._every and step % self._every == 0):
            self._writers.write(step, self._means.pop(), images_per_step=self._images)
