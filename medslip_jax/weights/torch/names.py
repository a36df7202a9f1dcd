"""PyTorch's names and layouts of every tensor of every kind of model: one table of rules a kind, in file order.

Beside it only `torch_model`, whose attributes are those names, and `config`, which infers a config from them,
know them (SPEC 8).
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from medslip_jax.models.config import ClassifierConfig, MeDSLIPConfig, SegmenterConfig, StreamsConfig, TrunkConfig
from medslip_jax.models.kinds import ModelConfig
from medslip_jax.models.resnet import DEPTHS

FlatTree = dict[str, np.ndarray]

# How an array lies in PyTorch, as axes of the Flax array.
_TRANSPOSES = {
    "linear": (1, 0),  # (in, out) -> (out, in)
    "conv": (3, 2, 0, 1),  # (h, w, in, out) -> (out, in, h, w)
    "transposed": (0, 3, 1, 2),  # (in, h, w, out) -> (in, out, h, w)
}
# 1 x 1 and 1-long convolutions are matrices here: the trailing axes that PyTorch adds.
_MATRIX_AXES = {"pointwise": 2, "pixelwise": 1}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One PyTorch tensor: the Flax leaves it holds, in order, and how each is laid out.

    Attributes:
      torch: key in the state_dict.
      flax: leaf paths ("params/..." or "batch_stats/..."); several are stacked on the first PyTorch axis; none
        means `num_batches_tracked`, which the Flax tree does not hold.
      layout: "same", "counter", a key of `_TRANSPOSES` or one of `_MATRIX_AXES`.
      alias: True for a second copy of a tensor that another rule defines.
    """

    torch: str
    flax: tuple[str, ...]
    layout: str = "same"
    alias: bool = False

    def to_torch(self, flat: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [_to_torch_layout(np.asarray(flat[path]), self.layout) for path in self.flax]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def from_torch(self, array: np.ndarray) -> FlatTree:
        parts = np.split(array, len(self.flax)) if len(self.flax) > 1 else [array]
        return {path: _to_flax_layout(p, self.layout) for path, p in zip(self.flax, parts, strict=True)}

    def shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The PyTorch tensor's, from the leaves'; () of a counter."""
        if self.layout == "counter":
            return ()
        # A broadcast zero takes no memory whatever its shape.
        return self.to_torch({path: np.broadcast_to(np.float32(0), shapes[path]) for path in self.flax}).shape


def rules(config: ModelConfig) -> list[Rule]:
    """Every tensor of the PyTorch model that `config` describes, in the order of the released files.

    Options that the released models lack keep the naming scheme: a second query projection is
    `anatomy_embedding_layer`, patch norms are `patch_norm_*`, and a single-stream model has the pathology names only.
    """
    if isinstance(config, MeDSLIPConfig):
        return list(_medslip(config))
    return list(_classifier(config) if isinstance(config, ClassifierConfig) else _segmenter(config))


def _medslip(c: MeDSLIPConfig) -> Iterator[Rule]:
    yield from _linear(
        "pathology_embedding_layer", "query_projection" if c.share_query_projection else "query_projection_pathology"
    )
    if not c.share_query_projection and c.streams == "dual":
        yield from _linear("anatomy_embedding_layer", "query_projection_anatomy")
    yield from _linear("cl_fc_pathology", "projection_pathology")
    yield from _trunk(c, stages=3)
    yield from _patches("pathology", c)
    if c.streams == "dual":
        yield from _linear("cl_fc_anatomy", "projection_anatomy")
        yield from _patches("anatomy", c)
        yield from _mask(c)
    for stream in reversed(c.stream_names):
        yield from _decoder(stream, c)
    for stream in reversed(c.stream_names):
        yield from _linear(f"classifier_{stream}", f"classifier_{stream}")


def _classifier(c: ClassifierConfig) -> Iterator[Rule]:
    """Two released classes: the plain one numbers layer4 as torchvision's child 7, the other keeps it apart."""
    if c.disentangle == "none":
        yield from _trunk(c, stages=int(c.last_stage[-1]))
    else:
        yield from _trunk(c, stages=3)
        yield from _patches("anatomy", c)
        yield from _patches("pathology", c)
        yield from _mask(c)
        yield from _linear("back", "back")
        yield from _stage("last_res.0", "layer4", c, stage=4)
    yield from _linear("res_out", "head")


def _segmenter(c: SegmenterConfig) -> Iterator[Rule]:
    yield from _trunk(c, stages=3)
    for i in range(2):
        yield from _conv_block(f"bridge.bridge.{i}", f"bridge_{i}")
    for i in range(4):
        yield from _linear(f"up_blocks.{i}.upsample", f"up_{i}/upsample", "transposed")
        for name in ("conv_block_1", "conv_block_2"):
            yield from _conv_block(f"up_blocks.{i}.{name}", f"up_{i}/{name}")
    yield from _linear("seg_classifier", "head", "pixelwise")


def _trunk(c: TrunkConfig, *, stages: int) -> Iterator[Rule]:
    # torchvision's children by number: 0 conv1, 1 bn1, 4 layer1, 5 layer2, 6 layer3, 7 layer4 (SPEC 8).
    yield Rule("res_features.0.weight", ("params/trunk/conv1/kernel",), "conv")
    yield from _batch_norm("res_features.1", "trunk/bn1")
    for stage in range(1, stages + 1):
        yield from _stage(f"res_features.{3 + stage}", f"trunk/layer{stage}", c, stage=stage)


def _stage(torch: str, flax: str, c: TrunkConfig, *, stage: int) -> Iterator[Rule]:
    bottleneck = c.backbone == "resnet50"
    convs = {1: "pointwise", 2: "conv", 3: "pointwise"} if bottleneck else {1: "conv", 2: "conv"}
    for j in range(DEPTHS[c.backbone][stage - 1]):
        for k, layout in convs.items():
            yield Rule(f"{torch}.{j}.conv{k}.weight", (f"params/{flax}_{j}/conv{k}/kernel",), layout)
            yield from _batch_norm(f"{torch}.{j}.bn{k}", f"{flax}_{j}/bn{k}")
        if j == 0 and (stage > 1 or bottleneck):
            kernel = f"params/{flax}_{j}/downsample_conv/kernel"
            yield Rule(f"{torch}.{j}.downsample.0.weight", (kernel,), "pointwise")
            yield from _batch_norm(f"{torch}.{j}.downsample.1", f"{flax}_{j}/downsample_bn")


def _patches(stream: str, c: StreamsConfig) -> Iterator[Rule]:
    yield from _linear(f"res_l1_{stream}", f"patch_hidden_{stream}")
    yield from _linear(f"res_l2_{stream}", f"patch_out_{stream}")
    if c.patch_norm == "layer_norm":
        yield from _norm(f"patch_norm_{stream}", f"patch_norm_{stream}")


def _mask(c: StreamsConfig) -> Iterator[Rule]:
    if c.mask_activation != "off":
        yield from _linear("mask_generator", "mask_generator")


def _decoder(stream: str, c: MeDSLIPConfig) -> Iterator[Rule]:
    for i in range(c.decoder_layers):
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


def _conv_block(torch: str, flax: str) -> Iterator[Rule]:
    yield from _linear(f"{torch}.conv", f"{flax}/conv", "conv")
    yield from _batch_norm(f"{torch}.bn", f"{flax}/bn")


def _batch_norm(torch: str, flax: str) -> Iterator[Rule]:
    yield Rule(f"{torch}.weight", (f"params/{flax}/scale",))
    yield Rule(f"{torch}.bias", (f"params/{flax}/bias",))
    yield Rule(f"{torch}.running_mean", (f"batch_stats/{flax}/mean",))
    yield Rule(f"{torch}.running_var", (f"batch_stats/{flax}/var",))
    yield Rule(f"{torch}.num_batches_tracked", (), "counter")


def _linear(torch: str, flax: str, layout: str = "linear") -> Iterator[Rule]:
    yield Rule(f"{torch}.weight", (f"params/{flax}/kernel",), layout)
    yield Rule(f"{torch}.bias", (f"params/{flax}/bias",))


def _norm(torch: str, flax: str, *, alias: bool = False) -> Iterator[Rule]:
    yield Rule(f"{torch}.weight", (f"params/{flax}/norm/scale",), alias=alias)
    yield Rule(f"{torch}.bias", (f"params/{flax}/norm/bias",), alias=alias)


def _to_torch_layout(x: np.ndarray, layout: str) -> np.ndarray:
    if layout in _MATRIX_AXES:
        return x.T.reshape(*x.T.shape, *[1] * _MATRIX_AXES[layout])
    return x.transpose(_TRANSPOSES[layout]) if layout in _TRANSPOSES else x


def _to_flax_layout(x: np.ndarray, layout: str) -> np.ndarray:
    if layout in _MATRIX_AXES:
        return np.ascontiguousarray(x.reshape(x.shape[:2]).T)
    if layout in _TRANSPOSES:
        return np.ascontiguousarray(x.transpose(np.argsort(_TRANSPOSES[layout])))
    return x
