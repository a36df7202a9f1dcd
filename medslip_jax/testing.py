"""Small things to try the library with: a tiny model, a synthetic batch, and weights by the golden recipe.

Public: the tests, the notebooks and users who change the model rely on it.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medslip_jax.models import MeDSLIPConfig
from medslip_jax.text.books import TextBooks
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES


def tiny_config(**changes) -> MeDSLIPConfig:
    """A dual-stream model that compiles in seconds; `changes` are fields of `MeDSLIPConfig`."""
    fields: dict[str, Any] = {
        "backbone": "resnet18",
        "trunk_width": 8,
        "embed_dim": 16,
        "text_dim": 12,
        "decoder_layers": 1,
        "decoder_heads": 2,
        "decoder_ffn_dim": 32,
    }
    return MeDSLIPConfig(**fields | changes)


def tiny_books(width: int = 12) -> TextBooks:
    """Random tables of the right number of rows."""
    rng = np.random.default_rng(0)
    return TextBooks(
        pathology=rng.standard_normal((len(PATHOLOGIES), width), np.float32),
        anatomy=rng.standard_normal((len(ANATOMIES), width), np.float32),
        provenance={"encoder": "random"},
    )


def synthetic_batch(size: int = 8, *, image_size: int = 64, seed: int = 0) -> dict[str, np.ndarray]:
    """{"image": uint8 (size, h, w) noise, "matrix": int8 (size, 51, 75)} with about one entry in fifty mentioned."""
    rng = np.random.default_rng(seed)
    shape = (size, len(ANATOMIES), len(PATHOLOGIES))
    mentioned = rng.random(shape) < 0.02
    matrix = np.where(mentioned, rng.integers(0, 2, shape), -1).astype(np.int8)
    return {"image": rng.integers(0, 256, (size, image_size, image_size), np.uint8), "matrix": matrix}


def recipe_array(name: str, shape: Sequence[int]) -> np.ndarray:
    """The golden files' value of the parameter with this PyTorch name (SPEC 9)."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        x = 1 + 0.1 * np.abs(x)
    elif name.endswith("running_mean"):
        x = 0.05 * x
    elif len(shape) == 1:
        x = 1 + 0.1 * x if name.endswith("weight") else 0.02 * x
    else:
        x = x / np.sqrt(np.prod(shape[1:]))
    return x.astype(np.float32)


def recipe_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """A whole state_dict by the recipe; the anatomy decoder's norm is the pathology decoder's (SPEC 9)."""
    return {
        name: recipe_array(name.replace("decoder_anatomy.norm", "decoder_pathology.norm"), shape)
        for name, shape in shapes.items()
    }
