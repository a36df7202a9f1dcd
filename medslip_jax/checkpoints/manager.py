"""The checkpoints of a run: state, loader position and config, saved in the background, restored if they are intact.

A checkpoint is a directory `WORKDIR/checkpoints/STEP` with four items, written together or not at all:
"model" {params, batch_stats[, ema: {params, batch_stats}]},
"optimizer" {step, opt_state}, "loader" and "config" (JSON); "metrics" (JSON) if the best is to be kept. Evaluation
reads "model" and "config" only; a converted checkpoint (`write_model`) has these two, "info" and, if known, the text
tables. Beside the items lie the digests of their files.
"""

import contextlib
import errno
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import jax
import orbax.checkpoint as ocp

from medslip_jax.checkpoints.failures import not_written, quiet
from medslip_jax.checkpoints.integrity import write_digests
from medslip_jax.checkpoints.reading import readable
from medslip_jax.checkpoints.resume import choose, require_same_config
from medslip_jax.checkpoints.retention import retention
from medslip_jax.errors import InputError
from medslip_jax.parallel.processes import decided_together
from medslip_jax.step.train_step import TrainState
from medslip_jax.storage.files import remove_directory

# tensorstore raises ValueErrors, barriers between processes RuntimeErrors.
_FAILURES = (OSError, ValueError, RuntimeError)


class Checkpoints:
    """Saves and restores the checkpoints of one run. All its methods are to be called on every process.

    Opening them looks at the newest: a damaged one is moved aside with a note on stderr, and the one before counts.

    Args:
      workdir: the run's directory.
      keep: newest checkpoints kept; older ones are deleted once a newer one is complete.
      keep_every_hours: besides, the first checkpoint and then one of every so many hours are kept; 0 = none.
      best_metric: besides, the checkpoint whose `metrics` of `save` are best in this one is kept, of equal ones the
        newest; None = none.
      best_mode: which values of it are better.

    Raises:
      InputError: `workdir` cannot be written, an option is out of range, or every checkpoint is damaged.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        keep: int = 2,
        keep_every_hours: float = 0.0,
        best_metric: str | None = None,
        best_mode: Literal["max", "min"] = "max",
    ):
        self.directory = Path(workdir).absolute() / "checkpoints"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--workdir {workdir}: cannot be written ({error.strerror})") from error
        options = retention(keep=keep, keep_every_hours=keep_every_hours, best_metric=best_metric, best_mode=best_mode)
        self._intact = choose(self.directory)
        self._saving = -1  # no save yet
        self._failed = False
        self._quiet = contextlib.ExitStack()
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                **options,
                create=True,
                cleanup_tmp_directories=True,
                async_options=ocp.options.AsyncOptions(
                    post_finalization_callback=self._write_digests,
                    # In the background, one that cannot be made leaves threads that wait for it for minutes.
                    create_directories_asynchronously=False,
                ),
            ),
            item_names=("model", "optimizer", "loader", "config"),
        )

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(
        self,
        state: TrainState,
        *,
        step: int,
        loader_state: Mapping,
        config: Mapping,
        metrics: Mapping[str, float | None] | None = None,
    ) -> None:
        """Starts writing the checkpoint of `step`; the arrays are copied before this returns.

        Raises:
          InputError: no space for it, or the save before this one has failed; the last good checkpoint stays.
        """
        self.wait()
        optimizer = {"step": state.step, "opt_state": state.opt_state}
        self._require_space((_model(state), optimizer), step=step)
        self._saving = step
        self._quiet.enter_context(quiet())
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(_model(state)),
                    optimizer=ocp.args.StandardSave(optimizer),
                    loader=ocp.args.JsonSave(dict(loader_state)),
                    config=ocp.args.JsonSave(dict(config)),
                ),
                # None is a metric that this validation leaves undefined.
                metrics={name: float(value) for name, value in (metrics or {}).items() if value is not None},
            )

    def restore(self, template: TrainState, *, config: Mapping) -> dict:
        """The newest intact checkpoint in the placement of `template`, whatever devices it was saved from.

        Args:
          template: a state, or ShapeDtypeStructs with shardings, of the run that goes on.
          config: of the run that goes on.

        Returns:
          {"state": TrainState, "step": int, "loader": dict}.

        Raises:
          InputError: the checkpoint was made with another config; the message lists the keys. Or all are damaged.
        """
        self.wait()
        if self.latest() != self._intact:
            self._intact = choose(self.directory)
            self._manager.reload()
        step = self._intact
        if step is None:
            raise InputError(f"{self.directory}: holds no checkpoint")
        directory = self.directory / str(step)
        require_same_config(directory, config)
        optimizer = {"step": template.step, "opt_state": template.opt_state}
        with readable(directory):
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardRestore(_abstract(_model(template))),
                    optimizer=ocp.args.StandardRestore(_abstract(optimizer)),
                    loader=ocp.args.JsonRestore(),
                ),
            )
        model = {name: items.model.get(name) for name in ("params", "batch_stats", "ema")}
        return {"state": template.replace(**items.optimizer, **model), "step": step, "loader": dict(items.loader)}

    def wait(self) -> None:
        """Until everything saved is on disk.

        Raises:
          InputError: the save has failed; the last good checkpoint stays.
        """
        with self._writing():
            self._manager.wait_until_finished()
        # The threads of a save that has failed go on after this, so then it stays quiet.
        self._quiet.close()

    def close(self) -> None:
        """`wait`, and the end."""
        try:
            self.wait()
        finally:
            # Of a save that has failed, and that the caller knows of, other threads may still work or raise.
            with contextlib.suppress(*(_FAILURES if self._failed else ())):
                self._manager.close()
            if self._failed:
                self._remove_unfinished()

    def _write_digests(self) -> None:
        """Called by Orbax on process 0 when the items are written, and before the directory gets its name."""
        unfinished = self._unfinished()
        write_digests(unfinished if unfinished.is_dir() else self.directory / str(self._saving))

    def _require_space(self, arrays, *, step: int) -> None:
        """Looks before a full disk makes Orbax's threads fail one by one."""
        needed = sum(x.nbytes for x in jax.tree.leaves(arrays))
        free = decided_together(lambda: shutil.disk_usage(self.directory).free)
        if free < needed:
            full = OSError(errno.ENOSPC, f"{needed >> 20} MiB needed, {free >> 20} MiB free")
            raise not_written(self.directory, full, step=step, latest=self.latest())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A save that fails, now or in the background, as one line; what it has left is removed."""
        try:
            yield
        except _FAILURES as error:
            self._failed = True
            self._remove_unfinished()
            self._manager.reload()
            raise not_written(self.directory, error, step=self._saving, latest=self.latest()) from error

    def _remove_unfinished(self) -> None:
        if jax.process_index() == 0:
            remove_directory(self._unfinished())

    def _unfinished(self) -> Path:
        """Where Orbax writes until all is there; what a killed process left is removed before the next save."""
        return self.directory / f"{self._saving}{ocp.path.step.TMP_DIR_SUFFIX}"


def _model(state: TrainState) -> dict:
    model = {"params": state.params, "batch_stats": state.batch_stats}
    return model if state.ema is None else model | {"ema": state.ema}


def _abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
