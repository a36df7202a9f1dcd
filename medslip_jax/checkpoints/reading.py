"""Finding a checkpoint on disk, and reading its model, config and description."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from medslip_jax.checkpoints.failures import reason
from medslip_jax.checkpoints.integrity import damage
from medslip_jax.errors import InputError
from medslip_jax.experiment.trees import plain

# Text tables that lie in a checkpoint.
BOOKS = "books.npz"


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
    raise InputError(f"{path}: holds no checkpoint; before its first save a run has none; give another run or weights")


def find_latest(workdir: str | Path) -> Path | None:
    """The newest checkpoint of a run, None if it has none yet; other things in `workdir` may be called by numbers."""
    return _newest(Path(workdir).absolute() / "checkpoints")


def _newest(directory: Path) -> Path | None:
    steps = steps_in(directory)
    return directory / str(steps[0]) if steps else None


def read_config(directory: Path) -> dict:
    """The config tree that a checkpoint was made with; text tables in the checkpoint are named in it."""
    try:
        config = plain(_read_item(directory, "config"))
    except (OSError, ValueError) as error:
        file = directory / "config" / "metadata"
        raise InputError(f"{file}: cannot read the checkpoint's config ({error}); {instead_of(directory)}") from error
    if (directory / BOOKS).is_file():
        config["books"]["path"] = str(directory / BOOKS)
    return config


def read_info(directory: Path) -> dict:
    """The description of a converted checkpoint, {} of a run's own."""
    try:
        return _read_item(directory, "info") if (directory / "info").is_dir() else {}
    except (OSError, ValueError) as error:
        file = directory / "info" / "metadata"
        raise InputError(f"{file}: cannot read the checkpoint's description ({error})") from error


def _read_item(directory: Path, item: str) -> dict:
    """ValueError unless it is a JSON object, and what was written as far as that is known."""
    content = json.loads((directory / item / "metadata").read_text())
    if found := damage(directory, items=(item,)):
        raise ValueError(found)
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content


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


def steps_in(directory: Path) -> list[int]:
    """The steps of the finished checkpoints in a directory, newest first."""
    found = directory.iterdir() if directory.is_dir() else ()
    return sorted((int(d.name) for d in found if d.name.isdecimal()), reverse=True)


def instead_of(checkpoint: Path) -> str:
    """For the message on a damaged checkpoint that is only to be read: which one could be given in its place."""
    if checkpoint.name.isdecimal():
        for step in steps_in(checkpoint.parent):
            older = checkpoint.with_name(str(step))
            if step < int(checkpoint.name) and damage(older, items=("model", "config")) is None:
                return f"{older} is intact: give that path to use it instead"
    return "there is no older one that is intact"
