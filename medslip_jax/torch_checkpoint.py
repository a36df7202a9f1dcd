"""Flax variables <-> the released PyTorch state_dict: one table of rules, used in both directions.

The only file that knows PyTorch names (SPEC 8). Arrays are NumPy; nothing here needs PyTorch. Every key and shape
is accounted for on both sides, and a round trip is bit-exact: only transposes, reshapes and concatenations.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from flax import traverse_util

from medslip_jax.errors import InputError
from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.resnet import DEPTHS

FlatTree = dict[str, np.ndarray]

# How one array is stored, Flax -> PyTorch.
_TRANSPOSES = {
    "linear": (1, 0),  # (in, out) -> (out, in)
    "conv": (3, 2, 0, 1),  # (h, w, in, out) -> (out, in, h, w)
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One PyTorch tensor: the Flax leaves it holds, in order, and how each is laid out.

    Attributes:
      torch: key in the state_dict.
      flax: leaf paths ("params/..." or "batch_stats/..."); several are stacked on the first PyTorch axis; none
        means a constant 0 (`num_batches_tracked`), which the Flax tree does not hold.
      layout: "same", "linear", "conv", "pointwise" (a 1 x 1 convolution held as a matrix) or "counter".
      alias: True for a second copy of a tensor that another rule already defines.
    """

    torch: str
    flax: tuple[str, ...]
    layout: str = "same"
    alias: bool = False

    def to_torch(self, flat: Mapping[str, np.ndarray]) -> np.ndarray:
        if self.layout == "counter":
            return np.zeros((), np.int64)
        parts = [_to_torch_layout(np.asarray(flat[path]), self.layout) for path in self.flax]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def from_torch(self, array: np.ndarray) -> FlatTree:
        if self.layout == "counter":
            return {}
        parts = np.split(array, len(self.flax)) if len(self.flax) > 1 else [array]
        return {path: _to_flax_layout(p, self.layout) for path, p in zip(self.flax, parts, strict=True)}


def _to_torch_layout(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "pointwise":
        return x.T[:, :, None, None]
    return x.transpose(_TRANSPOSES[layout]) if layout in _TRANSPOSES else x


def _to_flax_layout(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "pointwise":
        return np.ascontiguousarray(x[:, :, 0, 0].T)
    if layout in _TRANSPOSES:
        return np.ascontiguousarray(x.transpose(np.argsort(_TRANSPOSES[layout])))
    return x


def _batch_norm(torch: str, flax: str) -> Iterator[Rule]:
    yield Rule(f"{torch}.weight", (f"params/{flax}/scale",))
    yield Rule(f"{torch}.bias", (f"params/{flax}/bias",))
    yield Rule(f"{torch}.running_mean", (f"batch_stats/{flax}/mean",))
    yield Rule(f"{torch}.running_var", (f"batch_stats/{flax}/var",))
    yield Rule(f"{torch}.num_batches_tracked", (), "counter")


def _linear(torch: str, flax: str) -> Iterator[Rule]:
    yield Rule(f"{torch}.weight", (f"params/{flax}/kernel",), "linear")
    yield Rule(f"{torch}.bias", (f"params/{flax}/bias",))


def _norm(torch: str, flax: str, *, alias: bool = False) -> Iterator[Rule]:
    yield Rule(f"{torch}.weight", (f"params/{flax}/norm/scale",), alias=alias)
    yield Rule(f"{torch}.bias", (f"params/{flax}/norm/bias",), alias=alias)


def _trunk(config: MeDSLIPConfig) -> Iterator[Rule]:
    # torchvision's children by number: 0 conv1, 1 bn1, 4 layer1, 5 layer2, 6 layer3 (SPEC 8).
    yield Rule("res_features.0.weight", ("params/trunk/conv1/kernel",), "conv")
    yield from _batch_norm("res_features.1", "trunk/bn1")
    bottleneck = config.backbone == "resnet50"
    convs = {1: "pointwise", 2: "conv", 3: "pointwise"} if bottleneck else {1: "conv", 2: "conv"}
    for i, depth in enumerate(DEPTHS[config.backbone]):
        for j in range(depth):
            torch, flax = f"res_features.{4 + i}.{j}", f"trunk/layer{i + 1}_{j}"
            for k, layout in convs.items():
                yield Rule(f"{torch}.conv{k}.weight", (f"params/{flax}/conv{k}/kernel",), layout)
                yield from _batch_norm(f"{torch}.bn{k}", f"{flax}/bn{k}")
            if j == 0 and (i > 0 or bottleneck):
                yield Rule(f"{torch}.downsample.0.weight", (f"params/{flax}/downsample_conv/kernel",), "pointwise")
                yield from _batch_norm(f"{torch}.downsample.1", f"{flax}/downsample_bn")


def _decoder(stream: str, config: MeDSLIPConfig) -> Iterator[Rule]:
    for i in range(config.decoder_layers):
        torch, flax = f"decoder_{stream}.layers.{i}", f"decoder_{stream}/layer_{i}"
        for t, f in (("self_attn", "self_attention"), ("multihead_attn", "cross_attention")):
            for suffix, leaf, layout in (("weight", "kernel", "linear"), ("bias", "bias", "same")):
                packed = tuple(f"params/{flax}/{f}/{part}/{leaf}" for part in ("query", "key", "value"))
                yield Rule(f"{torch}.{t}.in_proj_{suffix}", packed, layout)
            yield from _linear(f"{torch}.{t}.out_proj", f"{flax}/{f}/out")
        for name in ("linear1", "linear2"):
            yield from _linear(f"{torch}.{name}", f"{flax}/{name}")
        for name in ("norm1", "norm2", "norm3"):
            yield from _norm(f"{torch}.{name}", f"{flax}/{name}")
    # Both decoders hold the same final LayerNorm (SPEC 3.6).
    yield from _norm(f"decoder_{stream}.norm", "decoder_norm", alias=stream != "pathology")


def rules(config: MeDSLIPConfig) -> list[Rule]:
    """Every tensor of the PyTorch model that `config` describes.

    Options that the released model lacks keep its naming scheme: a second projection is
    `anatomy_embedding_layer`, patch norms are `patch_norm_*`, and a single-stream model has the pathology names only.
    """
    table = list(_trunk(config))
    for stream in config.stream_names:
        table += _linear(f"res_l1_{stream}", f"patch_hidden_{stream}")
        table += _linear(f"res_l2_{stream}", f"patch_out_{stream}")
        if config.patch_norm == "layer_norm":
            table += _norm(f"patch_norm_{stream}", f"patch_norm_{stream}")
        table += _decoder(stream, config)
        table += _linear(f"classifier_{stream}", f"classifier_{stream}")
        table += _linear(f"cl_fc_{stream}", f"projection_{stream}")
        if not config.share_query_projection:
            table += _linear(f"{stream}_embedding_layer", f"query_projection_{stream}")
    if config.share_query_projection:
        table += _linear("pathology_embedding_layer", "query_projection")
    if config.streams == "dual" and config.mask_activation != "off":
        table += _linear("mask_generator", "mask_generator")
    return table


def to_torch(variables: Mapping, config: MeDSLIPConfig = MeDSLIPConfig()) -> dict[str, np.ndarray]:
    """{"params", "batch_stats"} -> {PyTorch name: array}, `num_batches_tracked` (0) included.

    Raises:
      InputError: a leaf that the model of `config` has is missing, or one is left over.
    """
    flat = _flatten(variables)
    table = rules(config)
    _account(have=flat.keys(), want={path for rule in table for path in rule.flax}, where="Flax variables")
    return {rule.torch: rule.to_torch(flat) for rule in table}


def from_torch(state: Mapping[str, np.ndarray], config: MeDSLIPConfig = MeDSLIPConfig()) -> dict[str, dict]:
    """{PyTorch name: array} -> {"params", "batch_stats"} as nested dicts of NumPy arrays.

    A `module.` prefix (DDP) and the older `disease_embedding_layer` are understood (SPEC 8).

    Raises:
      InputError: missing or unexpected keys, a shape that `config` does not give, or the two copies of the shared
        LayerNorm differing; the message lists them.
    """
    given, state = state, {_canonical(name): np.asarray(array) for name, array in state.items()}
    if len(state) != len(given):
        raise InputError("PyTorch state_dict: some tensors are there twice, with and without `module.` or an old name")
    table = rules(config)
    _account(have=state.keys(), want={rule.torch for rule in table}, where="PyTorch state_dict")
    shapes = _expected_shapes(config)
    flat: FlatTree = {}
    wrong = []
    for rule in table:
        array, expected = state[rule.torch], rule.to_torch(shapes).shape
        if array.shape != expected:
            wrong.append(f"{rule.torch} {array.shape}, expected {expected}")
        elif rule.alias:
            if not all(np.array_equal(flat[path], v) for path, v in rule.from_torch(array).items()):
                wrong.append(f"{rule.torch} differs from the decoder norm it must equal")
        else:
            flat |= rule.from_torch(array)
    if wrong:
        raise InputError(f"PyTorch state_dict: {len(wrong)} tensors do not fit: {_some(wrong)}")
    return traverse_util.unflatten_dict(flat, sep="/")


def _canonical(name: str) -> str:
    return name.removeprefix("module.").replace("disease_embedding_layer", "pathology_embedding_layer")


def _flatten(variables: Mapping) -> FlatTree:
    return traverse_util.flatten_dict(
        {key: variables[key] for key in ("params", "batch_stats") if key in variables}, sep="/"
    )


def _expected_shapes(config: MeDSLIPConfig) -> FlatTree:
    """Zero-filled leaves of the right shapes, without running the model: broadcast zeros take no memory."""
    from medslip_jax.models.dual_stream import MeDSLIP

    book = jax.ShapeDtypeStruct((1, config.text_dim), np.float32)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(MeDSLIP(config).init, jax.random.key(0), image, book, book)
    return {path: np.broadcast_to(np.float32(0), leaf.shape) for path, leaf in _flatten(tree).items()}


def _account(*, have, want, where: str) -> None:
    missing, unexpected = sorted(set(want) - set(have)), sorted(set(have) - set(want))
    if missing or unexpected:
        raise InputError(
            f"{where}: {len(missing)} missing ({_some(missing)}), {len(unexpected)} unexpected ({_some(unexpected)})"
        )


def _some(items: list[str], limit: int = 4) -> str:
    return "; ".join(items[:limit]) + (f"; and {len(items) - limit} more" if len(items) > limit else "") or "none"
