"""The 51 anatomies and 75 pathologies, their prompts and their left/right pairs.

Order is part of the checkpoint format (SPEC 2). Everything is read once from `assets/`; no JAX is imported, so
data workers can use this module.
"""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np

from medslip_jax.errors import InputError


def _asset(name: str) -> dict:
    return json.loads((resources.files("medslip_jax") / "assets" / name).read_text(encoding="utf-8"))


_VOCABULARY = _asset("vocabulary.json")

ANATOMIES: tuple[str, ...] = tuple(_VOCABULARY["anatomies"])
PATHOLOGIES: tuple[str, ...] = tuple(_VOCABULARY["pathologies"])
NORMAL_OBSERVATIONS = frozenset(_VOCABULARY["normal_observations"])
ABNORMAL_OBSERVATIONS = frozenset(_VOCABULARY["abnormal_observations"])
EXCLUDED_OBSERVATIONS = frozenset(_VOCABULARY["excluded_observations"])
LEMMA_CORRECTIONS: Mapping[str, str] = _VOCABULARY["lemma_corrections"]
LANDMARK_RULES: tuple[dict, ...] = tuple(_VOCABULARY["landmark_rules"])

_ANATOMY_INDEX = {name: i for i, name in enumerate(ANATOMIES)}
_PATHOLOGY_INDEX = {name: i for i, name in enumerate(PATHOLOGIES)}


def anatomy_index(name: str) -> int:
    """Position of an anatomy in the checkpoint order, 0 .. 50; `InputError` if there is none of that name."""
    return _index(_ANATOMY_INDEX, name, "anatomy")


def pathology_index(name: str) -> int:
    """Position of a pathology in the checkpoint order, 0 .. 74; `InputError` if there is none of that name.

    >>> PATHOLOGIES[pathology_index("effusion")]
    'effusion'
    """
    return _index(_PATHOLOGY_INDEX, name, "pathology")


def _index(table: Mapping[str, int], name: str, kind: str) -> int:
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}; the {len(table)} names are in medslip_jax.vocabulary")
    return table[name]


def anatomy_prompts() -> list[str]:
    """The 51 prompts, underscores kept as in the released code (SPEC 3.4)."""
    return [f"It is located at {name}. " for name in ANATOMIES]


def pathology_prompts(path: str | Path | None = None) -> list[str]:
    """The 75 explaining sentences in class order: ours, or a user's JSON file {class: sentence}.

    Raises:
      InputError: the file is not a JSON object with exactly the 75 classes and non-empty texts.
    """
    if path is None:
        return _in_order(_asset("pathology_prompts.json"), "assets/pathology_prompts.json")
    try:
        prompts = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the prompts ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    return _in_order(prompts, str(path))


def _in_order(prompts: object, where: str) -> list[str]:
    if not isinstance(prompts, dict):
        raise InputError(f"{where}: expected a JSON object {{class: sentence}}, got {type(prompts).__name__}")
    missing = [name for name in PATHOLOGIES if not isinstance(prompts.get(name), str) or not prompts[name].strip()]
    unknown = [name for name in prompts if name not in _PATHOLOGY_INDEX]
    if missing or unknown:
        raise InputError(f"{where}: missing or empty: {missing or 'none'}; unknown: {unknown or 'none'}")
    return [prompts[name] for name in PATHOLOGIES]


def _mirror(name: str) -> str:
    parts = name.split("_")
    return "_".join({"left": "right", "right": "left"}.get(part, part) for part in parts)


@functools.cache
def side_swap() -> np.ndarray:
    """Permutation of the anatomies that exchanges left and right: int32 (51,), its own inverse.

    `matrix[:, side_swap(), :]` is the label matrix of the mirrored images. An anatomy without a partner of the
    other side (`middle_right_lobe`: the left lung has no middle lobe; `right_atrium`, `right_ventricle`) stays.

    >>> ANATOMIES[side_swap()[anatomy_index("left_pleural")]]
    'right_pleural'
    """
    swapped = np.array([_ANATOMY_INDEX.get(_mirror(name), i) for i, name in enumerate(ANATOMIES)], np.int32)
    swapped.setflags(write=False)
    return swapped
