"""Runs a model over one pass of a loader and brings what evaluation needs to the host."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from medslip_jax import sharding


def score(
    step: Callable,
    variables: Mapping,
    loader: Iterable[Mapping[str, np.ndarray]],
    *,
    mesh: Mesh,
    map_classes: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Probabilities of a whole pass, and the attention maps of some pathologies.

    Args:
      step: from `train_step.jit_eval_step`.
      variables: {"params", "batch_stats"}.
      loader: an evaluation loader ("image", "labels", "index", "valid" ...).
      mesh: where `step` runs.
      map_classes: pathology indices whose maps are kept; a map of 196 floats for each class and image adds up.

    Returns:
      "index" int64 (n,) rows in the source, "labels" int8 (n, 75), "matrix" int8 (n, 51, 75), "pathology" float32
      (n, 75) and, with two streams, "anatomy" float32 (n, 51) probabilities; with `map_classes` also
      "pathology_map" float32 (n, classes, patches) and "anatomy_map" float32 (n, patches), the mean over anatomies.
    """
    parts: dict[str, list[np.ndarray]] = {}
    pending = None
    for batch in loader:
        out = step(variables, sharding.put_batch(mesh, {"image": batch["image"]}))
        result = _pick(out, classes=tuple(map_classes))
        if pending is not None:
            _collect(parts, *pending)
        pending = (result, batch)
    if pending is not None:
        _collect(parts, *pending)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


@functools.partial(jax.jit, static_argnames="classes")
def _pick(out: Mapping, *, classes: tuple[int, ...]) -> dict[str, jax.Array]:
    picked = {stream: o["probability"] for stream, o in out.items()}
    if classes:
        picked["pathology_map"] = out["pathology"]["attention"][:, list(classes)]
        if "anatomy" in out:
            picked["anatomy_map"] = out["anatomy"]["attention"].mean(axis=1)
    return picked


def _collect(parts: dict[str, list[np.ndarray]], result: Mapping, batch: Mapping[str, np.ndarray]) -> None:
    """Appends the valid rows; runs one batch late, so that the device has the next one to work on."""
    valid = batch["valid"]
    host = jax.device_get(result) | {key: batch[key] for key in ("index", "labels", "matrix")}
    for name, array in host.items():
        parts.setdefault(name, []).append(np.asarray(array)[valid])
