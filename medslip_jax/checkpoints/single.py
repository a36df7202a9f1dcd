"""One checkpoint on disk: finding it, reading its model and config, and writing a model without training state."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from medslip_jax.checkpoints.choice import instead_of, steps_in
from medslip_jax.checkpoints.failures import error_code, reason
from medslip_jax.checkpoints.integrity import DIGESTS, damage, write_digests
from medslip_jax.errors import InputError
from medslip_jax.experiment.trees import differences, from_json, read, tree_of

BOOKS = "books.npz"
# What may change between the parts of one run, as it does not change the losses; "keep" stands for "keep_..." too.
_FREE = (
    "log_every",
    "eval_every",
    "save_every",
    "keep",
    "data.dir",
    "data.workers",
    "data.threads",
    "mesh.data",
    "mesh.fsdp",
    "watchdog_minutes",
    "eval.",
)


def find_checkpoint(path: str | Path) -> Path:
    """A run's directory, its `checkpoints`, or one checkpoint -> the checkpoint, the newest if there are several.

    Whether it is intact shows when it is read: a damaged one is named then, and no older one is taken in its place.

    Raises:
      InputError: there is none.
    """
    path = Path(path).absolute()
    if path.is_file():
        raise InputError(f"{path}: is a file, not a run; `medslip convert --from {path} --to DIR` first")
    if not path.is_dir():
        raise InputError(f"{path}: no such directory; give a --workdir of `medslip pretrain` or a checkpoint in it")
    if newest := find_latest(path) or _newest(path):
        return newest
    if (path / "model").is_dir():
        return path
    if list(path.glob("*.safetensors")):
        raise InputError(
            f"{path}: holds weights to publish, no checkpoint; `medslip convert --from {path} --to DIR` first"
        )
    raise InputError(f"{path}: holds no checkpoint; the run may not have reached its first save")


def find_latest(workdir: str | Path) -> Path | None:
    """The newest checkpoint of a run, None if it has none yet; other things in `workdir` may be called by numbers."""
    return _newest(Path(workdir).absolute() / "checkpoints")


def _newest(directory: Path) -> Path | None:
    steps = steps_in(directory)
    return directory / str(steps[0]) if steps else None


def read_config(directory: Path) -> dict:
    """The config that a checkpoint was made with; the text tables that lie in the checkpoint are named in it."""
    file = directory / "config" / "metadata"
    try:
        config = from_json(file.read_text())
        _check(directory, item="config")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot read the checkpoint's config ({error}); {instead_of(directory)}") from error
    if (directory / BOOKS).is_file():
        config["books"]["path"] = str(directory / BOOKS)
    return config


def require_same_config(directory: Path, config: Mapping) -> None:
    """`InputError` that lists the keys if a checkpoint was made with another config than a run that goes on from it."""
    saved = tree_of(read(read_config(directory)))
    changed = [line for line in differences(saved, config) if not line.startswith(_FREE)]
    if changed:
        raise InputError(
            f"{directory} was made with another config ({'; '.join(changed[:6])}); "
            "use the same values or another --workdir"
        )


def read_info(directory: Path) -> dict:
    """The description of a converted checkpoint, {} of a run's own."""
    file = directory / "info" / "metadata"
    try:
        info = json.loads(file.read_text()) if file.is_file() else {}
        _check(directory, item="info")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot read the checkpoint's description ({error})") from error
    return info


def _check(directory: Path, *, item: str) -> None:
    """ValueError unless an item's files are those that were written; without digests nobody knows."""
    if (directory / DIGESTS).is_file() and (found := damage(directory, items=(item,))):
        raise ValueError(found)


def write_model(directory: Path, variables: Mapping, *, config: Mapping, info: Mapping) -> None:
    """Writes a checkpoint without training state into an empty directory, which need not exist; one process calls it.

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
        config=ocp.args.JsonSave(dict(config)),
        info=ocp.args.JsonSave(dict(info)),
    )
    # A disk that fills up while Orbax writes makes its threads print pages.
    if shutil.disk_usage(directory.parent).free < sum(np.asarray(x).nbytes for x in jax.tree.leaves(variables)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # The process that calls this writes; by default Orbax would wait for all others of the run.
    number = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=number, active_processes={number}, barrier_sync_key_prefix="write_model"
    )
    handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=alone))
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        try:
            checkpointer.save(directory, args=args, force=True)
        except ValueError as error:  # how tensorstore reports a full disk
            code = error_code(error)
            raise OSError(os.strerror(code) if code else reason(error)) from error
    write_digests(directory)


def read_variables(directory: Path, *, sharding) -> dict[str, dict]:
    """{"params", "batch_stats"} of a checkpoint for evaluation: the averages if it has them.

    Args:
      directory: from `find_checkpoint`.
      sharding: placement of every array.

    Raises:
      InputError: the arrays cannot be read, or are not those that were written.
    """
    with readable(directory), ocp.StandardCheckpointer() as checkpointer:
        if found := damage(directory, items=("model",)):
            raise ValueError(found)
        metadata = checkpointer.metadata(directory / "model").item_metadata.tree
        abstract = jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=sharding), metadata)
        model = checkpointer.restore(directory / "model", abstract)
    return model.get("ema", {"params": model["params"], "batch_stats": model["batch_stats"]})


@contextlib.contextmanager
def readable(directory: Path) -> Iterator[None]:
    """Orbax's and tensorstore's ways of saying that files are damaged or missing, as one line."""
    try:
        yield
    except Exception as error:  # bare Exception among them
        raise InputError(f"{directory}: cannot be read ({reason(error)}); {instead_of(directory)}") from error
