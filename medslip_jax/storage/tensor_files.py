"""State dicts on disk: `.pth` through PyTorch, `.safetensors` without it; and the names of their side files.

Reading never runs code from a file: `torch.load(weights_only=True)` or safetensors, nothing else.
"""

import contextlib
import json
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401 - gives NumPy its bfloat16, which safetensors may hold
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from medslip_jax.errors import InputError
from medslip_jax.storage.files import replacing_file

TORCH_SUFFIXES = (".pth", ".pt", ".bin")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")
PRETRAINED_WEIGHTS = "model.safetensors"
INSTALL = "`pip install medslip_jax[torch]`"
# Of a description, those that are objects.
_SECTIONS = ("model", "experiment", "books", "source")
# Where training scripts keep the state_dict among optimiser state, epoch and options.
_CONTAINERS = ("model", "state_dict", "model_state_dict")


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


def read_state(path: str | Path) -> dict:
    """{"state": {name: array}, "left_out": [names]} of a `.pth`, `.pt`, `.bin` or `.safetensors` file.

    The state_dict may be the file's content or lie under "model", "state_dict" or "model_state_dict"; what lies
    beside it (optimiser state, epoch, ...) is left out. Tensors of other float types become float32: exact from
    half precision and bfloat16, rounded from float64.

    Raises:
      InputError: missing, truncated or foreign file, one that holds Python objects, or PyTorch is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return {"state": _read_safetensors(path), "left_out": []}
    content = load_torch(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}; expected a state_dict")
    inside = next((key for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
    state = content if inside is None else content[inside]
    foreign = [f"{name} ({type(value).__name__})" for name, value in state.items() if not _is_tensor(value)]
    if foreign or not state:
        what = f"entries that are no tensors: {', '.join(foreign[:4])}" if foreign else "no tensor"
        raise InputError(f'{path}: holds {what}; expected a state_dict or {{"model": state_dict}}')
    try:
        arrays = {str(name): _to_numpy(tensor) for name, tensor in state.items()}
    except (TypeError, RuntimeError) as error:  # sparse, quantised or without data
        raise damaged(path, error) from error
    return {
        "state": arrays,
        "left_out": [] if inside is None else sorted(str(key) for key in content if key != inside),
    }


def canonical(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names without the `module.` of DDP and in the current spelling (SPEC 8); `InputError` if two become one."""
    renamed = {_canonical(name): array for name, array in state.items()}
    if len(renamed) != len(state):
        raise InputError("PyTorch state_dict: some tensors are there twice, with and without `module.` or an old name")
    return renamed


def _canonical(name: str) -> str:
    return name.removeprefix("module.").replace("disease_embedding_layer", "pathology_embedding_layer")


def load_torch(path: Path) -> object:
    """What `torch.load` reads with weights_only=True; tensors stay on disk until they are used where that works."""
    torch = require_torch(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise InputError(_unpickling(path, str(error))) from error
    except Exception as error:  # torch raises a dozen unrelated classes for a damaged file
        raise damaged(path, error) from error


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
    if path.suffix in TORCH_SUFFIXES:
        require_torch(path)
    arrays = {name: np.require(array, requirements=("C", "W")) for name, array in state.items()}
    with replacing_file(path) as temporary:
        try:
            _write(arrays, temporary)
        except (RuntimeError, SafetensorError) as error:  # how the two libraries report a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error
        yield temporary


def _write(arrays: dict[str, np.ndarray], path: Path) -> None:
    if path.suffix == ".safetensors":
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


def damaged(path: Path, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(f"{path}: not a readable checkpoint, truncated or of another format ({reason})")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return {name: _single(array) for name, array in load_file(path).items()}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise damaged(path, error) from error


def _is_tensor(value: object) -> bool:
    return hasattr(value, "detach") and hasattr(value, "numpy")


def _to_numpy(tensor) -> np.ndarray:
    tensor = tensor.detach().resolve_conj()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _single(array: np.ndarray) -> np.ndarray:
    # Kind V are the float types of ml_dtypes, such as bfloat16.
    return array.astype(np.float32, copy=False) if array.dtype.kind in "fV" else array


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _unpickling(path: Path, message: str) -> str:
    """torch's long advice, which begins with how to switch the protection off, in one line of our own."""
    name = re.search(r"GLOBAL (\S+)", message)
    if name:
        return (
            f"{path}: holds Python objects ({name[1]}), which could run code when loaded; save the tensors alone, "
            'torch.save({"model": model.state_dict()}, FILE), where the file comes from'
        )
    # What torch found, without the advice around it.
    found = message.partition("WeightsUnpickler error:")[2].strip().splitlines() or ["no pickle of tensors"]
    return f"{path}: not a readable checkpoint, truncated or of another format ({found[0].strip()})"
