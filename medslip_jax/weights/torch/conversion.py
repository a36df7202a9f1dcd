"""Flax variables <-> PyTorch state_dict, for every kind of model, by the rules of `names`.

Arrays are NumPy; nothing here needs PyTorch. Every key and shape is accounted for on both sides, and a round trip is
bit-exact: only transposes, reshapes and concatenations.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from flax import traverse_util

from medslip_jax.errors import InputError
from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.kinds import ModelConfig, abstract_variables, initial_leaves
from medslip_jax.storage.matching import MatchReport, match, shapes_of, some
from medslip_jax.storage.tensor_reading import canonical
from medslip_jax.weights.torch.config import check_fit
from medslip_jax.weights.torch.names import FlatTree, rules

_STATE = "PyTorch state_dict"


def to_torch(
    variables: Mapping, config: ModelConfig = MeDSLIPConfig(), *, batches_tracked: int | Mapping[str, int] = 0
) -> dict[str, np.ndarray]:
    """{"params", "batch_stats"} -> {PyTorch name: array} in the order of the released files.

    Args:
      variables: of the module that `config` describes.
      config: of any kind.
      batches_tracked: what the `num_batches_tracked` entries hold: training steps, or {name: steps}.

    Raises:
      InputError: a leaf that the model of `config` has is missing, left over or of another shape.
    """
    flat = flatten(variables)
    match(shapes_of(flat), shapes_of(flatten(abstract_variables(config)))).check("Flax variables")

    def counter(name: str) -> np.ndarray:
        steps = batches_tracked.get(name, 0) if isinstance(batches_tracked, Mapping) else batches_tracked
        return np.array(steps, np.int64)

    return {r.torch: counter(r.torch) if r.layout == "counter" else r.to_torch(flat) for r in rules(config)}


def from_torch(
    state: Mapping[str, np.ndarray], config: ModelConfig = MeDSLIPConfig(), *, excuse: Iterable[str] = ()
) -> dict[str, dict]:
    """{PyTorch name: array} -> {"params", "batch_stats"} as nested dicts of NumPy arrays.

    What wrappers add to names, the older `disease_embedding_layer` (SPEC 8) and absent counters are understood.

    Args:
      state: the tensors.
      config: of any kind.
      excuse: PyTorch names, `*` for any part, that may be missing, left over or of another shape; what then is not
        filled keeps its initial value.

    Raises:
      InputError: names or shapes that do not fit and are not excused, or the two copies of the shared LayerNorm
        differ; the message lists them.
    """
    state = canonical(state)
    report = match_state(state, config, excuse=excuse)
    check_fit(report, shapes_of(state), config, where=_STATE)
    names = set(report.loaded)
    loaded = {rule: state[rule.torch] for rule in rules(config) if rule.torch in names and rule.layout != "counter"}
    foreign = [f"{rule.torch} ({array.dtype})" for rule, array in loaded.items() if array.dtype.kind != "f"]
    if foreign:
        raise InputError(f"{_STATE}: {len(foreign)} tensors are not floats, as quantised ones are ({some(foreign)})")
    flat: FlatTree = {}
    for rule, array in loaded.items():
        if not rule.alias:
            flat |= rule.from_torch(np.asarray(array))
    copies = {rule.torch: rule.from_torch(array) for rule, array in loaded.items() if rule.alias}
    differ = [name for name, copy in copies.items() if not all(_same(flat.get(path), x) for path, x in copy.items())]
    if differ:
        raise InputError(f"{_STATE}: {some(differ)} differs from the pathology decoder's norm, which it must equal")
    if report.unfilled:
        missing = flatten(abstract_variables(config)).keys() - flat.keys()
        flat |= {path: np.asarray(x) for path, x in initial_leaves(config, missing).items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def match_state(state: Mapping, config: ModelConfig, *, excuse: Iterable[str] = ()) -> MatchReport:
    """How the tensors of `state`, of canonical names, fit the model of `config`."""
    leaves = shapes_of(flatten(abstract_variables(config)))
    # No counter changes what a model computes, and some tools leave them out.
    wanted = (rule for rule in rules(config) if rule.layout != "counter" or rule.torch in state)
    want = {rule.torch: rule.shape(leaves) for rule in wanted}
    return match(shapes_of(state), want, excuse=excuse)


def counters(state: Mapping[str, np.ndarray]) -> dict[str, int]:
    """{name: value} of the `num_batches_tracked` entries, which the Flax tree does not hold."""
    return {name: int(x) for name, x in state.items() if name.endswith("num_batches_tracked") and np.size(x) == 1}


def _same(a: np.ndarray | None, b: np.ndarray) -> bool:
    """Bit for bit but for NaN, which `check_finite` reports better."""
    return a is not None and np.array_equal(a, b, equal_nan=True)


def flatten(variables: Mapping) -> FlatTree:
    """{"params/...", "batch_stats/...": leaf} of a tree of variables; other collections are left out."""
    return traverse_util.flatten_dict(
        {key: variables[key] for key in ("params", "batch_stats") if key in variables}, sep="/"
    )
