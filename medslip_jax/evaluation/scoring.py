"""Runs a model over one pass of a loader and brings what evaluation needs to every host."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from medslip_jax.errors import InputError
from medslip_jax.parallel import sharding
from medslip_jax.step.losses import pair_logits
from medslip_jax.step.train_step import Trainer, eval_step
from medslip_jax.vocabulary import PATHOLOGIES

# What a loader knows of an image. It travels through the mesh with the image, so that rows belong together whatever
# order the hosts' shares have in the global batch.
_KNOWN = ("valid", "index", "labels", "matrix")
PAIR_KEYS = ("pair_predicted", "pair_true", "pair_count")


def jit_score_step(
    trainer: Trainer,
    mesh: Mesh,
    *,
    map_classes: Sequence[int] = (),
    map_anatomies: Sequence[int] = (),
    extra_queries: np.ndarray | None = None,
    map_extra: Sequence[int] = (),
) -> jax.stages.Wrapped:
    """(variables, batch) -> what `score` collects of one batch; results are replicated, so every host has all rows.

    Args:
      trainer: the run's fixed parts.
      mesh: where the step runs.
      map_classes: pathology indices whose maps are kept; a map of 196 floats for each class and image adds up.
      map_anatomies: anatomy indices whose maps are kept; nothing is kept of a model with one stream.
      extra_queries: float32 (k, T), further rows of the pathology table, prepared as that one was (SPEC 7: COVIDx).
        They are read in the same pass. Queries attend to one another, so the extra rows move the 75 scores a little:
        compare classification results only if they were had with the same extra queries.
      map_extra: rows of `extra_queries` whose maps are kept.

    Raises:
      InputError: extra queries of another width than the pathology table, or not finite.
    """
    extra = None if extra_queries is None else _checked(extra_queries, width=trainer.books.pathology.shape[1])

    def step(variables: Mapping, batch: Mapping[str, jax.Array]) -> dict[str, dict[str, jax.Array]]:
        out = eval_step(trainer, variables, batch, extra_queries=extra)
        rows = {stream: o["probability"] for stream, o in out.items()} | {key: batch[key] for key in _KNOWN}
        known, attention = len(PATHOLOGIES), out["pathology"]["attention"]
        rows["pathology"] = rows["pathology"][:, :known]
        if extra is not None:
            rows["extra"] = out["pathology"]["probability"][:, known:]
        if map_extra:
            rows["extra_map"] = attention[:, [known + i for i in map_extra]]
        if map_classes:
            rows["pathology_map"] = attention[:, list(map_classes)]
        if "anatomy" not in out:
            return {"rows": rows, "pairs": {}}
        if map_classes or map_extra:
            rows["anatomy_map"] = out["anatomy"]["attention"].mean(axis=1)
        if map_anatomies:
            rows["anatomy_maps"] = out["anatomy"]["attention"][:, list(map_anatomies)]
        features = (out["anatomy"]["features"], out["pathology"]["features"][:, :known])
        said = jnp.where(batch["valid"][:, None, None], batch["matrix"], -1)
        return {"rows": rows, "pairs": _pair_sums(pair_logits(*features, config=trainer.loss), said)}

    return jax.jit(
        step,
        in_shardings=(None, sharding.batch_sharding(mesh)),
        out_shardings=sharding.replicated(mesh),
    )


def score(
    step: Callable,
    variables: Mapping,
    loader: Iterable[Mapping[str, np.ndarray]],
    *,
    mesh: Mesh,
    pulse: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """Probabilities of a whole pass, and the attention maps of the step's classes.

    Args:
      step: from `jit_score_step`, or one that gives other rows ("index" and "valid" among them), such as
        `finetuning.tuner.jit_judge_step`.
      variables: {"params", "batch_stats"}, or what `models.folding.fold` makes of them.
      loader: an evaluation loader: "image", "index", "valid" and what the step reads beside them.
      mesh: where `step` runs.
      pulse: called after every batch; it may raise to end the pass.

    Returns:
      By increasing "index" int64 (n,), the row in the source: "labels" int8 (n, 75), "matrix" int8 (n, 51, 75),
      "pathology" float32 (n, 75) and, with two streams, "anatomy" float32 (n, 51) probabilities. As the step was told
      to: "pathology_map" float32 (n, classes, patches) and with it "anatomy_map" float32 (n, patches), the mean over
      all anatomies; "anatomy_maps" float32 (n, anatomies, patches); "extra" float32 (n, k) probabilities; "extra_map".

      With two streams also three arrays (51, 75) over the whole pass, not by image: "pair_predicted" float32, the mean
      probability that the anatomy has the pathology (sigmoid of the ICL score, SPEC 4) over the images whose report
      mentions the pair; "pair_true" float32, the share of those that have it; "pair_count" int64, their number. NaN
      where it is 0.
    """
    parts: dict[str, list[np.ndarray]] = {}
    sums: dict[str, np.ndarray] = {}
    results = (step(variables, sharding.put_batch(mesh, batch)) for batch in loader)
    # Collected one batch late, so that the device has the next one to work on.
    for result, _ in itertools.pairwise(itertools.chain(results, [None])):
        _collect(parts, sums, result)
        pulse()
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    order = np.argsort(whole["index"], kind="stable")
    return {name: array[order] for name, array in whole.items()} | _pair_means(sums)


def _collect(parts: dict[str, list[np.ndarray]], sums: dict[str, np.ndarray], result: Mapping) -> None:
    host = jax.device_get(result)
    valid = host["rows"].pop("valid")
    for name, array in host["rows"].items():
        parts.setdefault(name, []).append(np.asarray(array)[valid])
    for name, array in host["pairs"].items():
        # float64: whole passes are sums of many float32 ones.
        sums[name] = sums.get(name, 0) + np.asarray(array, np.float64)


def _pair_sums(logits: jax.Array, matrix: jax.Array) -> dict[str, jax.Array]:
    """Sums over a batch (b, 51, 75) of what is mentioned there; three small arrays leave the device, not the batch."""
    mentioned = matrix >= 0
    return {
        "predicted": jnp.where(mentioned, jax.nn.sigmoid(logits), 0).sum(axis=0),
        "true": (matrix == 1).sum(axis=0),
        "count": mentioned.sum(axis=0),
    }


def _pair_means(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not sums:
        return {}
    count = np.where(sums["count"] > 0, sums["count"], np.nan)
    return {
        "pair_predicted": (sums["predicted"] / count).astype(np.float32),
        "pair_true": (sums["true"] / count).astype(np.float32),
        "pair_count": sums["count"].astype(np.int64),
    }


def _checked(extra: np.ndarray, *, width: int) -> np.ndarray:
    extra = np.asarray(extra, np.float32)
    if extra.ndim != 2 or extra.shape[1] != width:
        raise InputError(f"extra queries have shape {extra.shape}; give k x {width}, the width of the text tables")
    if not np.isfinite(extra).all():
        raise InputError("extra queries hold NaN or infinite values; encode their texts again")
    return extra
