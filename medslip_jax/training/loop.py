"""The training loop: restore, then for every step: evaluate, save, next batch, step.

That order is the condition for exact resume: what is saved at step k is the state after k updates and a loader that
has handed out k batches, nothing in between.
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
from jax.sharding import Mesh

from data_pipelines.loading import Loader
from medslip_jax.checkpoints import Checkpoints
from medslip_jax.errors import Preempted
from medslip_jax.experiment.sections import Experiment, RunConfig
from medslip_jax.experiment.trees import tree_of
from medslip_jax.parallel import sharding
from medslip_jax.parallel.chips import peak_flops
from medslip_jax.parallel.flops import program_flops
from medslip_jax.parallel.processes import CompiledTogether
from medslip_jax.step.train_step import StepParts, TrainState, eval_variables, jit_init, jit_train_step, with_variables
from medslip_jax.training.late_metrics import LateMetrics
from medslip_jax.training.profiling import Trace, write_overview
from medslip_jax.training.step_clock import StepClock
from medslip_jax.training.stopping import StopRequest
from medslip_jax.training.watchdog import Watchdog
from medslip_jax.training.writers import Writers

# Called after every batch of a validation; it may raise to end it.
Pulse = Callable[[], None]
Validate = Callable[[TrainState, Pulse], Mapping[str, float | None]]


class _Interrupted(Exception):
    """A validation was ended early: the run has been asked to stop."""


def train(
    trainer: StepParts,
    loader: Loader,
    *,
    experiment: Experiment,
    workdir: str | Path,
    mesh: Mesh,
    initial: Mapping | None = None,
    validate: Validate | None = None,
    stop_after: int | None = None,
    profile: tuple[int, int] | None = None,
) -> TrainState:
    """Trains to `trainer.num_steps`, resuming from the newest good checkpoint in `workdir`.

    Args:
      trainer: the run's fixed parts.
      loader: training batches; its state is saved and restored.
      experiment: written into every checkpoint; the one of a checkpoint that is gone on from must agree.
      workdir: metrics and checkpoints go here; with several processes a directory that all of them see.
      mesh: where the steps run.
      initial: {"params", "batch_stats"} of a run that starts, in place of random ones.
      validate: (state, pulse) -> numbers to log, None for an undefined one; called every `eval_every` steps and at the
        end.
      stop_after: ends after this many steps in all, with a checkpoint.
      profile: (first, last) steps of a trace.

    Returns:
      The last state.

    Raises:
      InputError: a loss is NaN or infinite, or the checkpoint belongs to another config.
      Preempted: SIGTERM came; the state is saved, a validation that was due is not lost.
    """
    run = experiment.run
    last = trainer.num_steps if stop_after is None else min(stop_after, trainer.num_steps)
    who = f"medslip: process {jax.process_index()} of {jax.process_count()}"
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        watchdog = stack.enter_context(Watchdog(run.watchdog_minutes * 60, who=who))
        running = _Running(trainer, loader, experiment=experiment, workdir=workdir, mesh=mesh, initial=initial)
        stack.callback(running.close)
        trace = Trace(workdir, profile)
        stack.callback(trace.close)

        def pulse() -> None:
            watchdog.beat(f"validating at step {step}")
            if stop.reached():
                raise _Interrupted

        for step in range(running.start, last + 1):
            due = _due(step, start=running.start, stop=last, num_steps=trainer.num_steps, run=run)
            due["eval"] = validate is not None and (due["eval"] or (step == running.start and running.unvalidated))
            stopping = stop.reached()
            if validate is not None and due["eval"] and not stopping:
                try:
                    running.validate(step, validate, pulse)
                except _Interrupted:
                    stopping = True
            running.unvalidated = due["eval"] and stopping
            if due["save"] or stopping:
                watchdog.beat(f"saving at step {step}")
                running.save(step)
            if stopping:
                running.finish()
                raise Preempted(step=step)
            if any(due.values()):
                running.clock.restart()
            trace.at(step, running.state)
            if step == last:
                break
            running.step(step)
            watchdog.beat(f"between steps {step + 1} and {step + 2}")
        running.finish()
    return running.state


class _Running:
    """State, loader, checkpoints and logs of a run that goes on: what the order of `train` is an order of."""

    def __init__(
        self,
        trainer: StepParts,
        loader: Loader,
        *,
        experiment: Experiment,
        workdir: str | Path,
        mesh: Mesh,
        initial: Mapping | None,
    ):
        run, data = experiment.run, experiment.data
        self._loader, self._tree, self._mesh = loader, tree_of(experiment), mesh
        self._checkpoints = Checkpoints(
            workdir, keep=run.keep, keep_every_hours=run.keep_every_hours, best_metric=run.keep_best or None
        )
        self._validated: tuple[int, Mapping[str, float | None]] = (-1, {})
        try:
            init = jit_init(trainer, mesh, image_size=data.image_size)
            restored = _restore(self._checkpoints, init, mesh, self._tree, initial=initial)
            self.state, self.start = restored["state"], restored["step"]
            self.unvalidated = restored["loader"].pop("unvalidated", False)
            window = restored["loader"].pop("window", {})
            loader.set_state(restored["loader"])
        except BaseException:
            self._checkpoints.close()
            raise
        self._step = CompiledTogether(jit_train_step(trainer, mesh, self.state), name="train step")
        first = jax.process_index() == 0
        if first:
            print(write_overview(workdir, eval_variables(self.state)), flush=True)
        self._writers = Writers(workdir, num_steps=trainer.num_steps, first_step=self.start, enabled=first)
        self._peak = peak_flops(mesh.devices.flat[0].device_kind)
        self.clock = StepClock(images=data.batch_size, chips=mesh.size, peak_flops=self._peak)
        self._log = LateMetrics(
            self._writers,
            self.clock,
            every=run.log_every,
            num_steps=trainer.num_steps,
            window=window,
            saved=self._checkpoints.latest(),
        )

    def validate(self, step: int, validate: Validate, pulse: Pulse) -> None:
        self._log.flush()
        self._validated = (step, validate(self.state, pulse))
        self._writers.write(*self._validated)

    def save(self, step: int) -> None:
        """Unless it is there: a run that is stopped may have saved this step just now, or come from it."""
        if self._checkpoints.latest() == step:
            return
        # A state after a bad step must not replace a good checkpoint, so its metrics are read first.
        self._log.flush()
        kept = self._loader.get_state() | self._log.state() | {"unvalidated": self.unvalidated}
        metrics = self._validated[1] if self._validated[0] == step else None
        self._checkpoints.save(self.state, step=step, loader_state=kept, config=self._tree, metrics=metrics)
        self._log.saved = step

    def step(self, step: int) -> None:
        """Batch number `step`, and the update with it."""
        with self.clock.waiting("data"):
            batch = sharding.put_batch(self._mesh, next(self._loader))
        compiled = self._step.compiled(self.state, batch)
        if self.clock.flops is None:
            # 0: of no use, or not to be had.
            self.clock.flops = (program_flops(compiled) if self._peak else None) or 0.0
        self.state, metrics = compiled(self.state, batch)
        self._log.push(step + 1, metrics)

    def finish(self) -> None:
        """Waits until all that was saved is on disk."""
        self._log.flush()
        self._checkpoints.wait()

    def close(self) -> None:
        self._writers.close()
        self._checkpoints.close()
        self._loader.close()


def _restore(checkpoints: Checkpoints, init: Callable, mesh: Mesh, tree: Mapping, *, initial: Mapping | None) -> dict:
    """{"state", "step", "loader"} of the newest checkpoint, or of a run that starts."""
    if checkpoints.latest() is None:
        state = init() if initial is None else with_variables(init(), initial)
        return {"state": state, "step": 0, "loader": {"batch": 0}}
    shapes = jax.eval_shape(init)
    template = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, sharding.state_sharding(mesh, shapes)
    )
    return checkpoints.restore(template, config=tree)


def _due(step: int, *, start: int, stop: int, num_steps: int, run: RunConfig) -> dict[str, bool]:
    """Both fall on multiples and on the run's end, saving also on an early stop; neither on the step it starts from."""

    def at(every: int, ends: set[int]) -> bool:
        return step > start and (step in ends or (every > 0 and step % every == 0))

    return {"eval": at(run.eval_every, {num_steps}), "save": at(run.save_every, {num_steps, stop})}
