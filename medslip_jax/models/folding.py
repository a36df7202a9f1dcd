"""BatchNorm folded into the convolution before it, for inference.

With fixed statistics BatchNorm is gain y + shift a channel. The gain goes into the kernel (and bias) of its convolution
and one addition is left; `layers.BatchNorm` adds it where it finds a "shift" in place of its four arrays.
"""

import re
from collections.abc import Mapping

import numpy as np
from flax import traverse_util

from medslip_jax.errors import InputError
from medslip_jax.models.layers import BatchNorm

# Names of the modules: bn1 follows conv1, downsample_bn downsample_conv, bn conv.
_NORM = re.compile(r"(|.*_)bn(\d*)")
_REPAIR = "convert or train the model again"


def fold(variables: Mapping) -> dict[str, dict]:
    """Variables of any model -> {"params"} with which the same module computes the same in inference.

    Example:
      out = module.apply(fold(variables), image)  # as module.apply(variables, image)

    The fold is computed on the host in float64 and rounded once to float32; as ever, a kernel is cast when it is used.
    In float32 probabilities of the paper's models with recipe weights change by 4e-7 at most, outputs by 1.5e-6 of the
    largest. In bfloat16 other kernels are rounded: probabilities change by up to 6e-3, and are as far from those of
    float32 as unfolded ones are (at most 5.3e-3 and 5.2e-3).

    Args:
      variables: {"params", "batch_stats"}; stay as they are.

    Returns:
      {"params"}: NumPy arrays where something was folded, the given arrays elsewhere. Training refuses them, and they
      are not for disk: no unfolded ones can be made of them.

    Raises:
      InputError: BatchNorm without statistics or a convolution before it; statistics that are negative or not finite.
    """
    params = traverse_util.flatten_dict(dict(variables["params"]))
    stats = traverse_util.flatten_dict(dict(variables.get("batch_stats", {})))
    norms = {path[:-1] for path in params if len(path) > 1 and _NORM.fullmatch(path[-2])}
    for norm in sorted(norms | {path[:-1] for path in stats}):
        _fold_one(params, stats, norm=norm)
    return {"params": traverse_util.unflatten_dict(params)}


def _fold_one(params: dict, stats: Mapping, *, norm: tuple[str, ...]) -> None:
    """Replaces a BatchNorm and its convolution in `params`, {path: leaf}."""
    name = "/".join(norm)
    conv = (*norm[:-1], _NORM.sub(r"\1conv\2", norm[-1]))
    if conv == norm or (*conv, "kernel") not in params:
        raise InputError(f"{name}: BatchNorm without its convolution, so it cannot be folded; {_REPAIR}")
    scale, offset = (_finite(params, norm, leaf, collection="params") for leaf in ("scale", "bias"))
    mean, var = (_finite(stats, norm, leaf, collection="batch_stats") for leaf in ("mean", "var"))
    if (var < 0).any():
        raise InputError(f"batch_stats/{name}/var: a negative variance; {_REPAIR}")
    gain = scale / np.sqrt(var + BatchNorm.epsilon)
    for leaf in ("kernel", "bias"):
        if (path := (*conv, leaf)) in params:
            # The last axis is that of the output's channels.
            params[path] = (np.asarray(params[path], np.float64) * gain).astype(params[path].dtype)
    dtype = params[*norm, "bias"].dtype
    for leaf in ("scale", "bias"):
        del params[*norm, leaf]
    params[*norm, "shift"] = (offset - mean * gain).astype(dtype)


def _finite(leaves: Mapping, norm: tuple[str, ...], leaf: str, *, collection: str) -> np.ndarray:
    """float64 (c,)."""
    name = "/".join((collection, *norm, leaf))
    if (*norm, leaf) not in leaves:
        raise InputError(f"{name}: missing, so BatchNorm cannot be folded; give variables as training leaves them")
    values = np.asarray(leaves[*norm, leaf], np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name}: NaN or infinite; {_REPAIR}")
    return values
