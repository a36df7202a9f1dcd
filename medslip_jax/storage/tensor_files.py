"""Writes state dicts, `.pth` through PyTorch and `.safetensors` without it; and the names of their side files."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from medslip_jax.errors import InputError
from medslip_jax.storage.files import replacing_file

# In lower case, but names are compared without regard to it.
TORCH_SUFFIXES = (".pth", ".pt", ".bin")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")
# Names that files of weights have beside these; they are read and not written.
READ_SUFFIXES = (*SUFFIXES, ".ckpt", ".tar")
PRETRAINED_WEIGHTS = "model.safetensors"
INSTALL = "`pip install medslip_jax[torch]`"
# Of a description, those that are objects.
_SECTIONS = ("model", "experiment", "books", "source")


def info_file(weights: Path) -> Path:
    """The JSON file beside a weights file: `config.json` in a `save_pretrained` directory, else `NAME.json`."""
    return weights.with_name("config.json" if weights.name == PRETRAINED_WEIGHTS else f"{weights.name}.json")


def books_file(weights: Path) -> Path:
    """The text tables beside a weights file: `books.npz` in a `save_pretrained` directory, else `NAME.books.npz`."""
    return weights.with_name("books.npz" if weights.name == PRETRAINED_WEIGHTS else f"{weights.name}.books.npz")


def read_info(weights: Path) -> dict:
    """What `info_file` holds without its nulls, {} if there is none; `InputError` if it is not a JSON object."""
    path = info_file(weights)
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read this description of {weights.name} ({error}); remove it") from error
    if not isinstance(info, dict):
        raise InputError(f"{path}: expected a JSON object that describes {weights.name}; remove it")
    info = {key: value for key, value in info.items() if value is not None}
    for key in _SECTIONS:
        if not isinstance(info.get(key, {}), dict):
            raise InputError(f"{path}: {key} is {info[key]!r}; expected an object; correct or remove it")
    return info


def info_bytes(info: Mapping) -> bytes:
    """What `info_file` is to hold."""
    return (json.dumps(info, indent=1, allow_nan=False) + "\n").encode()


def require_torch(path: Path):
    """The module; `InputError` naming the file that needs it where PyTorch is not installed."""
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path}: needs PyTorch; {INSTALL}, or use .safetensors") from error
    return torch


@contextlib.contextmanager
def writing_state(path: str | Path, state: Mapping[str, np.ndarray]) -> Iterator[Path]:
    """Writes a state_dict by suffix, `.pth` as {"model": state_dict} (SPEC 8), under the temporary path it yields.

    The file takes its place when the block ends, and what it replaces stays if the block raises.
    """
    path = Path(path)
    if path.suffix.lower() in TORCH_SUFFIXES:
        require_torch(path)
    arrays = {name: np.require(array, requirements=("C", "W")) for name, array in state.items()}
    with replacing_file(path) as temporary:
        try:
            _write(arrays, temporary)
        except (RuntimeError, SafetensorError) as error:  # how the two libraries report a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error
        yield temporary


def _write(arrays: dict[str, np.ndarray], path: Path) -> None:
    if path.suffix.lower() == ".safetensors":
        path.touch()
        mode = path.stat().st_mode
        save_file(arrays, path, metadata={"format": "pt"})
        path.chmod(mode)  # it makes a file that nobody else can read
        return
    torch = require_torch(path)
    # Into an open file, as the archive would otherwise carry the temporary name.
    with path.open("wb") as file:
        torch.save({"model": {name: torch.from_numpy(array) for name, array in arrays.items()}}, file)


def write_state(path: str | Path, state: Mapping[str, np.ndarray]) -> None:
    """`writing_state` with nothing to do in between."""
    with writing_state(path, state):
        return
