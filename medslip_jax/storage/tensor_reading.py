"""Reads state dicts of every form in which people have them; what a file is, its content says and not its name.

Reading never runs code from a file: `torch.load(weights_only=True)` or safetensors, nothing else.
"""

import hashlib
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401 - gives NumPy its bfloat16, which safetensors may hold
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from medslip_jax.errors import InputError
from medslip_jax.storage.files import file_hash
from medslip_jax.storage.tensor_files import SUFFIXES, require_torch

INDEX_SUFFIX = ".index.json"
# Where training scripts keep the state_dict among optimiser state, epoch and options.
_CONTAINERS = ("model", "state_dict", "model_state_dict", "module")
# What DDP, torch.compile, FSDP, checkpointed layers and modules around a model put between the parts of a name.
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "model"})
_ZIP, _GZIP, _PICKLE, _TAR = b"PK\x03\x04", b"\x1f\x8b", b"\x80", b"ustar"
_TAR_AT = 257


def read_state(path: str | Path) -> dict:
    """{"state": {name: array}, "left_out": [names]} of a file of PyTorch or safetensors, or an index of several.

    The state_dict may be the file's content or lie under "model", "state_dict", "model_state_dict" or "module", one in
    the other; what lies beside it (optimiser state, epoch, ...) is left out. Tensors of other float types become
    float32: exact from half precision and bfloat16, rounded from float64. An index (`model.safetensors.index.json`)
    stands for the files that its "weight_map" names, which lie beside it.

    Raises:
      InputError: missing, truncated or foreign file, one that holds Python objects, or PyTorch is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.name.lower().endswith(INDEX_SUFFIX):
        found = [read_state(shard) for shard in shards(path)]
        state = {name: array for one in found for name, array in one["state"].items()}
        return {"state": state, "left_out": sorted({name for one in found for name in one["left_out"]})}
    with path.open("rb") as file:
        head = file.read(_TAR_AT + len(_TAR))
    if _is_safetensors(head):
        return {"state": _read_safetensors(path), "left_out": []}
    _refuse_others(path, head)
    return _state_of(path, load_torch(path))


def shards(index: Path) -> list[Path]:
    """The files that an index names, in its order.

    Raises:
      InputError: no index, a file that is not there, or one that lies elsewhere.
    """
    try:
        names = dict.fromkeys(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        paths = [index.with_name(name) for name in names]  # `with_name` refuses a name that leads elsewhere
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not an index of weights; expected {{'weight_map': {{tensor: FILE}}}}") from error
    if any(path.name.lower().endswith(INDEX_SUFFIX) for path in paths):
        raise InputError(f"{index}: names an index, maybe itself; expected files of tensors")
    missing = [path.name for path in paths if not path.is_file()]
    if missing or not paths:
        what = f"names {missing[0]}, which is not beside it; copy all files" if missing else "names no file"
        raise InputError(f"{index}: {what}")
    return paths


def weights_in(directory: Path) -> Path | None:
    """The weights file or index in a directory that has no other use, None if there is none.

    Raises:
      InputError: several, or the folder of torch.distributed.checkpoint.
    """
    names = [path.name for path in directory.iterdir() if path.is_file() and not path.name.startswith("._")]
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        tool = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
        raise InputError(f"{directory}: of torch.distributed.checkpoint; make one file, {tool} {directory} FILE.pth")
    indices = [name for name in names if name.lower().endswith(INDEX_SUFFIX)]
    found = sorted(indices or (name for name in names if name.lower().endswith(SUFFIXES)))
    if len(found) > 1:
        raise InputError(f"{directory}: holds {', '.join(found)}; name one of them")
    return directory / found[0] if found else None


def weights_hash(path: Path) -> str:
    """sha256 (hex) of a weights file, or over those of an index and its files."""
    if not path.name.lower().endswith(INDEX_SUFFIX):
        return file_hash(path)
    return hashlib.sha256("".join(map(file_hash, [path, *shards(path)])).encode()).hexdigest()


def _state_of(path: Path, content: object) -> dict:
    left_out: list[str] = []
    while isinstance(content, Mapping):
        inside = next((key for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inside is None:
            break
        left_out += sorted(str(key) for key in content if key != inside)
        content = content[inside]
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}; expected a state_dict")
    foreign = [f"{name} ({type(value).__name__})" for name, value in content.items() if not _is_tensor(value)]
    if foreign or not content:
        what = f"entries that are no tensors: {', '.join(foreign[:4])}" if foreign else "no tensor"
        raise InputError(f'{path}: holds {what}; expected a state_dict or {{"model": state_dict}}')
    try:
        arrays = {str(name): _to_numpy(tensor) for name, tensor in content.items()}
    except (TypeError, RuntimeError) as error:  # sparse, quantised or without data
        raise damaged(path, error) from error
    return {"state": arrays, "left_out": left_out}


def canonical(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names without what wrappers add (`module.`, `_orig_mod.`, `model.`) and in the current spelling (SPEC 8).

    Raises:
      InputError: two names become one.
    """
    renamed = {_canonical(name): array for name, array in state.items()}
    if len(renamed) != len(state):
        raise InputError("PyTorch state_dict: some tensors are there twice, with and without `module.` or an old name")
    return renamed


def _canonical(name: str) -> str:
    plain = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    return plain.replace("disease_embedding_layer", "pathology_embedding_layer")


def load_torch(path: Path) -> object:
    """What `torch.load` reads with weights_only=True; tensors stay on disk until they are used where that works."""
    torch = require_torch(path)
    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file:
            # By its name, torch would take such a file for one of safetensors; only by name can it be mapped.
            misnamed = path.suffix.lower() == ".safetensors"
            source, mapped = (file, False) if misnamed else (path, _is_zip(path))
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise InputError(_unpickling(path, str(error))) from error
    except Exception as error:  # torch raises a dozen unrelated classes for a damaged file
        raise damaged(path, error) from error


def _is_safetensors(head: bytes) -> bool:
    """The length of a JSON header, then the header."""
    return head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 1 << 32


def _refuse_others(path: Path, head: bytes) -> None:
    """`InputError` for what PyTorch would not read, or read as something else, with the way to a file that it does."""
    if head.startswith(_GZIP):
        raise InputError(f"{path}: packed by gzip; unpack it, gunzip {path.name}")
    if head[_TAR_AT:] == _TAR:
        raise InputError(f"{path}: a tar archive; unpack it and give the file inside")
    if head.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.partition("/")[2] for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise damaged(path, error) from error
        if "constants.pkl" in names:
            save = f"torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pth')"
            raise InputError(f"{path}: a TorchScript archive, a program; save its tensors in PyTorch: {save}")
        if "data.pkl" not in names:
            raise damaged(path, ValueError("a zip archive, but not of torch.save"))
    elif not head.startswith(_PICKLE):
        raise damaged(path, ValueError("neither of torch.save nor safetensors"))


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
