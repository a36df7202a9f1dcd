"""Runs a model over one pass of a loader and brings what evaluation needs to every host."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from medslip_jax import sharding
from medslip_jax.train_step import Trainer, eval_step

# What a loader knows of an image. It travels through the mesh with the image, so that rows belong together whatever
# order the hosts' shares have in the global batch.
_KNOWN = ("valid", "index", "labels", "matrix")


def jit_score_step(trainer: Trainer, mesh: Mesh, *, map_classes: Sequence[int] = ()) -> Callable:
    """(variables, batch) -> what `score` collects of one batch; results are replicated, so every host has all rows.

    Args:
      trainer: the run's fixed parts.
      mesh: where the step runs.
      map_classes: pathology indices whose maps are kept; a map of 196 floats for each class and image adds up.
    """

    def step(variables: Mapping, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        out = eval_step(trainer, variables, batch)
        picked = {stream: o["probability"] for stream, o in out.items()} | {key: batch[key] for key in _KNOWN}
        if map_classes:
            picked["pathology_map"] = out["pathology"]["attention"][:, list(map_classes)]
            if "anatomy" in out:
                picked["anatomy_map"] = out["anatomy"]["attention"].mean(axis=1)
        return picked

    return jax.jit(
        step,
        in_shardings=(None, sharding.batch_sharding(mesh)),
        out_shardings=sharding.replicated(mesh),
    )


def score(
    step: Callable, variables: Mapping, loader: Iterable[Mapping[str, np.ndarray]], *, mesh: Mesh
) -> dict[str, np.ndarray]:
    """Probabilities of a whole pass, and the attention maps of the step's classes.

    Args:
      step: from `jit_score_step`.
      variables: {"params", "batch_stats"}.
      loader: an evaluation loader ("image", "labels", "matrix", "index", "valid").
      mesh: where `step` runs.

    Returns:
      By increasing "index" int64 (n,), the row in the source: "labels" int8 (n, 75), "matrix" int8 (n, 51, 75),
      "pathology" float32 (n, 75) and, with two streams, "anatomy" float32 (n, 51) probabilities; with map classes
      also "pathology_map" float32 (n, classes, patches) and "anatomy_map" float32 (n, patches), the mean over
      anatomies.
    """
    parts: dict[str, list[np.ndarray]] = {}
    collect = functools.partial(_collect, parts)
    pending = None
    for batch in loader:
        result = step(variables, sharding.put_batch(mesh, {key: batch[key] for key in ("image", *_KNOWN)}))
        # One batch late, so that the device has the next one to work on.
        if pending is not None:
            collect(pending)
        pending = result
    if pending is not None:
        collect(pending)
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    order = np.argsort(whole["index"], kind="stable")
    return {name: array[order] for name, array in whole.items()}


def _collect(parts: dict[str, list[np.ndarray]], result: Mapping[str, jax.Array]) -> None:
    host = jax.device_get(result)
    valid = host.pop("valid")
    for name, array in host.items():
        parts.setdefault(name, []).append(np.asarray(array)[valid])
