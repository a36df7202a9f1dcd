"""Checkpoints: state, loader position and config of a run. The only file that knows Orbax.

A checkpoint is a directory `WORKDIR/checkpoints/STEP` with four items, written together or not at all:
"model" {params, batch_stats[, ema: {params, batch_stats}]},
"optimizer" {step, opt_state}, "loader" and "config" (JSON). Evaluation reads
"model" and "config" only; a converted checkpoint (`write_model`) has these two, "info" and, if known, the text tables.
"""

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from ml_collections import ConfigDict

from medslip_jax import experiment
from medslip_jax.errors import InputError
from medslip_jax.train_step import TrainState

BOOKS = "books.npz"
# What may change between the parts of one run, as it does not change the losses.
_FREE = (
    "log_every",
    "eval_every",
    "save_every",
    "keep",
    "data.dir",
    "data.workers",
    "data.threads",
    "mesh.",
    "eval.",
)


class Checkpoints:
    """Saves and restores the checkpoints of one run.

    Args:
      workdir: the run's directory.
      keep: newest checkpoints kept; older ones are deleted after a save.
    """

    def __init__(self, workdir: str | Path, *, keep: int = 2):
        self.directory = Path(workdir).absolute() / "checkpoints"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--workdir {workdir}: cannot be written ({error.strerror})") from error
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, cleanup_tmp_directories=True),
            item_names=("model", "optimizer", "loader", "config"),
        )

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, state: TrainState, *, step: int, loader_state: Mapping, config: ConfigDict) -> None:
        """Starts writing the checkpoint of `step`; the arrays are copied before this returns."""
        model = {"params": state.params, "batch_stats": state.batch_stats}
        if state.ema is not None:
            model["ema"] = state.ema
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model),
                optimizer=ocp.args.StandardSave({"step": state.step, "opt_state": state.opt_state}),
                loader=ocp.args.JsonSave(dict(loader_state)),
                config=ocp.args.JsonSave(config.to_dict()),
            ),
        )

    def restore(self, template: TrainState, *, config: ConfigDict) -> dict:
        """The newest checkpoint in the placement of `template`.

        Args:
          template: a state, or ShapeDtypeStructs with shardings, of the run that goes on.
          config: of the run that goes on.

        Returns:
          {"state": TrainState, "step": int, "loader": dict}.

        Raises:
          InputError: the checkpoint was made with another config; the message lists the keys.
        """
        step = self.latest()
        directory = self.directory / str(step)
        changed = [
            line
            for line in experiment.differences(experiment.completed(read_config(directory)), config)
            if not line.startswith(_FREE)
        ]
        if changed:
            raise InputError(
                f"{directory} was made with another config ({'; '.join(changed[:6])}); "
                "use the same values or another --workdir"
            )
        model = {"params": template.params, "batch_stats": template.batch_stats}
        if template.ema is not None:
            model["ema"] = template.ema
        optimizer = {"step": template.step, "opt_state": template.opt_state}
        with _readable(directory):
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardRestore(_abstract(model)),
                    optimizer=ocp.args.StandardRestore(_abstract(optimizer)),
                    loader=ocp.args.JsonRestore(),
                ),
            )
        state = template.replace(
            step=items.optimizer["step"],
            opt_state=items.optimizer["opt_state"],
            params=items.model["params"],
            batch_stats=items.model["batch_stats"],
            ema=items.model.get("ema"),
        )
        return {"state": state, "step": step, "loader": dict(items.loader)}

    def wait(self) -> None:
        """Until everything saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


@contextlib.contextmanager
def _readable(directory: Path):
    """Orbax's and tensorstore's ways of saying that files are damaged or missing, as one line."""
    try:
        yield
    except Exception as error:  # bare Exception among them
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{directory}: cannot be read ({reason}); delete it to go on from an older one") from error


def _read_through(model: Path) -> None:
    """Fails where Orbax would too, but quietly: its threads print pages when a file is cut short or missing."""
    if not (model / "manifest.ocdbt").is_file():
        raise FileNotFoundError("model/manifest.ocdbt is missing")
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{model}/"}).result()
    for key in store.list().result():
        found = store.read(key).result()
        # Nothing is stored with an empty value: it is what a lost data file reads as.
        if found.state != "value" or not found.value:
            raise FileNotFoundError(f"the data of {key.decode()} are missing")


def _abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def find_checkpoint(path: str | Path) -> Path:
    """A run's directory, its `checkpoints`, or one checkpoint -> the checkpoint, the newest if there are several.

    Raises:
      InputError: there is none.
    """
    path = Path(path).absolute()
    if path.is_file():
        raise InputError(f"{path}: is a file, not a run; `medslip convert --from {path} --to DIR` first")
    if not path.is_dir():
        raise InputError(f"{path}: no such directory; give a --workdir of `medslip pretrain` or a checkpoint in it")
    newest = find_latest(path)
    if newest is not None:
        return newest
    if (path / "model").is_dir():
        return path
    if list(path.glob("*.safetensors")):
        raise InputError(
            f"{path}: holds weights to publish, no checkpoint; `medslip convert --from {path} --to DIR` first"
        )
    raise InputError(f"{path}: holds no checkpoint; the run may not have reached its first save")


def find_latest(workdir: str | Path) -> Path | None:
    """The newest checkpoint of a run, None if it has none yet."""
    for directory in (Path(workdir).absolute(), Path(workdir).absolute() / "checkpoints"):
        steps = [d for d in directory.iterdir() if d.name.isdigit()] if directory.is_dir() else []
        if steps:
            return max(steps, key=lambda d: int(d.name))
    return None


def read_config(directory: Path) -> ConfigDict:
    """The config that a checkpoint was made with; the text tables that lie in the checkpoint are named in it."""
    file = directory / "config" / "metadata"
    try:
        config = experiment.from_json(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot read the checkpoint's config ({error})") from error
    if (directory / BOOKS).is_file():
        config.books.path = str(directory / BOOKS)
    return config


def read_info(directory: Path) -> dict:
    """The description of a converted checkpoint, {} of a run's own."""
    file = directory / "info" / "metadata"
    try:
        return json.loads(file.read_text()) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot read the checkpoint's description ({error})") from error


def write_model(directory: Path, variables: Mapping, *, config: ConfigDict, info: Mapping) -> None:
    """Writes a checkpoint without training state into an empty directory, which need not exist.

    Args:
      directory: of the checkpoint; the caller gives it its final name once all is written.
      variables: {"params", "batch_stats"}.
      config: what `read_config` will give.
      info: what `read_info` will give.

    Raises:
      OSError: not all of it could be written.
    """
    args = ocp.args.Composite(
        model=ocp.args.StandardSave({"params": variables["params"], "batch_stats": variables["batch_stats"]}),
        config=ocp.args.JsonSave(config.to_dict()),
        info=ocp.args.JsonSave(dict(info)),
    )
    # A disk that fills up while Orbax writes makes its threads print pages.
    if shutil.disk_usage(directory.parent).free < sum(np.asarray(x).nbytes for x in jax.tree.leaves(variables)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        try:
            checkpointer.save(directory, args=args, force=True)
        except ValueError as error:  # how tensorstore reports a full disk
            code = re.search(r"os_error_code='(\d+)'", str(error))
            raise OSError(os.strerror(int(code[1])) if code else " ".join(str(error).split())[:200]) from error


def read_variables(directory: Path, *, sharding) -> dict[str, dict]:
    """{"params", "batch_stats"} of a checkpoint for evaluation: the averages if it has them.

    Args:
      directory: from `find_checkpoint`.
      sharding: placement of every array.

    Raises:
      InputError: the arrays cannot be read.
    """
    checkpointer = ocp.StandardCheckpointer()
    with _readable(directory):
        _read_through(directory / "model")
        metadata = checkpointer.metadata(directory / "model").item_metadata.tree
        abstract = jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=sharding), metadata)
        model = checkpointer.restore(directory / "model", abstract)
    return model.get("ema", {"params": model["params"], "batch_stats": model["batch_stats"]})
