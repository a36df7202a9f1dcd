"""Hugging Face BERT weights to the parameters of `medslip_jax.text.bert.Bert`, strictly.

Every tensor of the file is used or excused by name, every parameter of the model is found with its shape, or
reading fails. All file formats are first brought to one form, PyTorch's names and layouts as numpy arrays.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
from flax.serialization import msgpack_restore
from flax.traverse_util import flatten_dict, unflatten_dict

from medslip_jax.errors import InputError
from medslip_jax.storage.matching import match, shapes_of
from medslip_jax.storage.tensor_reading import damaged, read_state
from medslip_jax.text.bert import Bert, BertConfig

# The pooler and the pre-training heads come after the last hidden state; position_ids is a constant buffer.
EXCUSED = ("pooler.", "cls.", "embeddings.position_ids")
_PREFIX = "bert."

_TOP = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embeddings": "embeddings.position_embeddings",
    "token_type_embeddings": "embeddings.token_type_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
}
_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
    "ffn_norm": "output.LayerNorm",
}
_LEAF = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
# Files converted from the first TensorFlow release name the two tensors of a LayerNorm so.
_OLD_LEAF = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclasses.dataclass(frozen=True)
class LoadedBert:
    """`config`, `params` (float32, for `Bert(config).apply`), the weights' file and its SHA-256 in hex."""

    config: BertConfig
    params: dict
    path: Path
    sha256: str


def load_bert(directory: str | Path) -> LoadedBert:
    """Reads `config.json` and the first of `model.safetensors`, `flax_model.msgpack`, `pytorch_model.bin`.

    Raises:
      InputError: no such file, a damaged one, weights that do not fit the config, `.bin` without PyTorch.
    """
    directory = Path(directory)
    config = BertConfig.from_json(directory / "config.json")
    path = find_weights(directory)
    if path is None:
        raise InputError(f"{directory}: no weights; expected one of {', '.join(READERS)}")
    params = from_state_dict(READERS[path.name](path), config=config, where=str(path))
    with path.open("rb") as file:
        return LoadedBert(config, params, path, hashlib.file_digest(file, "sha256").hexdigest())


def find_weights(directory: Path) -> Path | None:
    """The weights' file that `load_bert` would read, if there is one."""
    return next((directory / name for name in READERS if (directory / name).is_file()), None)


def from_state_dict(state: Mapping[str, np.ndarray], *, config: BertConfig, where: str = "weights") -> dict:
    """Parameters of `Bert(config)` from arrays in PyTorch's names and layouts (linear weights out x in).

    Args:
      state: with or without the prefix `bert.`; `EXCUSED` names are ignored; any float type.
      where: the file that an error names.

    Raises:
      InputError: a tensor is missing, unexpected or of another shape; one line lists the first differences.
    """
    given, state = state, {_plain_name(name): array for name, array in state.items()}
    if len(state) < len(given):
        raise InputError(f"{where}: a tensor is there both with and without the prefix {_PREFIX!r}; remove one")
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    shapes = jax.eval_shape(Bert(config).init, jax.random.key(0), ids, ids)["params"]
    wanted = {path: leaf.shape for path, leaf in flatten_dict(shapes).items()}
    names = {path: hf_name(path) for path in wanted}
    used = {name: shape for name, shape in shapes_of(state).items() if not name.startswith(EXCUSED)}
    # A kernel is the transpose of PyTorch's weight.
    in_torch = {names[path]: shape[::-1] if path[-1] == "kernel" else shape for path, shape in wanted.items()}
    match(used, in_torch).check(f"{where}: weights do not fit config.json")
    flat = {path: np.asarray(state[name], np.float32) for path, name in names.items()}
    return unflatten_dict({path: x.T if path[-1] == "kernel" else x for path, x in flat.items()})


def hf_name(path: tuple[str, ...]) -> str:
    """PyTorch's name of a parameter of `Bert`.

    >>> hf_name(("layer_3", "ffn_in", "kernel"))
    'encoder.layer.3.intermediate.dense.weight'
    """
    *modules, leaf = path
    if len(modules) == 1:
        return f"{_TOP[modules[0]]}.{_LEAF[leaf]}"
    index = modules[0].removeprefix("layer_")
    return f"encoder.layer.{index}.{_LAYER[modules[1]]}.{_LEAF[leaf]}"


def _plain_name(name: str) -> str:
    name = name.removeprefix(_PREFIX)
    for old, new in _OLD_LEAF.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _read_state(path: Path) -> dict[str, np.ndarray]:
    return read_state(path)["state"]


def _read_msgpack(path: Path) -> dict[str, np.ndarray]:
    """Hugging Face's Flax layout: PyTorch's module names, Flax's leaf names, linear weights in x out."""
    try:
        tree = msgpack_restore(path.read_bytes())
    except (ValueError, TypeError, OSError, msgpack.UnpackException) as error:
        raise damaged(path, error) from error
    if not isinstance(tree, dict):
        raise damaged(path, ValueError(f"it holds a {type(tree).__name__}, not a tree"))
    state = {}
    for keys, array in flatten_dict(tree).items():
        *modules, leaf = map(str, keys)
        name = ".".join([*modules, _LEAF.get(leaf, leaf)])
        state[name] = np.asarray(array).T if leaf == "kernel" else np.asarray(array)
    return state


READERS = {
    "model.safetensors": _read_state,
    "flax_model.msgpack": _read_msgpack,
    "pytorch_model.bin": _read_state,
}
