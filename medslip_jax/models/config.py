"""What each kind of model is made of: frozen, hashable records, checked when they are made."""

import dataclasses
from typing import Literal

from medslip_jax.errors import InputError, check_choices

Backbone = Literal["resnet50", "resnet18"]
MaskActivation = Literal["none", "sigmoid", "off"]
Streams = Literal["dual", "pathology"]
LinearInit = Literal["released", "xavier"]
PatchNorm = Literal["none", "layer_norm"]
DType = Literal["float32", "bfloat16"]
Disentangle = Literal["none", "pathology"]
LastStage = Literal["layer3", "layer4"]
Remat = Literal["none", "blocks"]
# Kind of model -> what sides of an image are multiples of; the grid, or its mask's halving, comes out whole.
STRIDES = {"medslip": 16, "classifier": 32, "segmenter": 16}


@dataclasses.dataclass(frozen=True)
class MeDSLIPConfig:
    """Defaults are the paper's ResNet-50 model (SPEC 3).

    Attributes:
      backbone: image trunk, torchvision's up to `layer3`.
      trunk_width: channels of the stem; 64 is torchvision's, 32 halves every layer.
      embed_dim: D, the width of patches, queries and decoders.
      text_dim: T, the width of the text tables.
      decoder_layers: layers of each query decoder.
      decoder_heads: attention heads; must divide embed_dim.
      decoder_ffn_dim: hidden width of a decoder layer's feed-forward block.
      dropout: rate of every dropout (decoders and heads).
      mask_activation: what is applied to the disentangling mask: nothing (released), a sigmoid, or "off",
        which feeds both streams the same patches (ablation).
      share_query_projection: one Linear(T, D) for both text tables (released), or one for each.
      streams: "dual", or "pathology" for the single-stream ablation, which has neither mask nor anatomy stream.
      linear_init: N(0, 0.02) as released, or Xavier uniform, for every linear layer.
      patch_norm: "layer_norm" normalises each stream's patches before its decoder reads them. Alone it
        made no measurable difference in short runs; the small-budget configs use it with "xavier".
      dtype: computations of the trunk and decoders; parameters, statistics, norms and softmax stay float32.
      remat: what the trunk computes anew in the backward pass, for less memory: nothing, or all but the outputs of its
        blocks. The results do not change.
    """

    backbone: Backbone = "resnet50"
    trunk_width: int = 64
    embed_dim: int = 256
    text_dim: int = 768
    decoder_layers: int = 4
    decoder_heads: int = 4
    decoder_ffn_dim: int = 1024
    dropout: float = 0.1
    mask_activation: MaskActivation = "none"
    share_query_projection: bool = True
    streams: Streams = "dual"
    linear_init: LinearInit = "released"
    patch_norm: PatchNorm = "none"
    dtype: DType = "float32"
    remat: Remat = "none"

    def __post_init__(self):
        _check(self)
        if self.embed_dim % self.decoder_heads:
            raise InputError(
                f"model.decoder_heads={self.decoder_heads} does not divide model.embed_dim={self.embed_dim}"
            )

    @property
    def stream_names(self) -> tuple[str, ...]:
        return ("pathology", "anatomy") if self.streams == "dual" else ("pathology",)


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """Defaults are the paper's fine-tuned classifier (SPEC 7): the whole ResNet-50 and one class.

    Attributes:
      backbone, trunk_width, dtype, remat: as in `MeDSLIPConfig`.
      num_classes: logits, each with a sigmoid of its own.
      disentangle: "pathology" keeps the disentangling block before `layer4` and reads the pathology stream.
      last_stage: of the trunk that the head reads; pre-training ends with "layer3", which is what a linear probe reads.
      embed_dim, mask_activation, patch_norm, linear_init: of that block, as in `MeDSLIPConfig`.
    """

    backbone: Backbone = "resnet50"
    trunk_width: int = 64
    num_classes: int = 1
    disentangle: Disentangle = "none"
    last_stage: LastStage = "layer4"
    embed_dim: int = 256
    mask_activation: MaskActivation = "none"
    patch_norm: PatchNorm = "none"
    linear_init: LinearInit = "released"
    dtype: DType = "float32"
    remat: Remat = "none"

    def __post_init__(self):
        _check(self)
        if self.last_stage == "layer3" and self.disentangle != "none":
            raise InputError("model.last_stage='layer3' reads the trunk itself; it goes with model.disentangle='none'")


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """Defaults are the paper's U-Net (SPEC 7) with one class.

    Attributes:
      backbone, trunk_width, dtype, remat: as in `MeDSLIPConfig`.
      num_classes: logits a pixel, each with a sigmoid of its own.
      dropout: rate before the last layer.
    """

    backbone: Backbone = "resnet50"
    trunk_width: int = 64
    num_classes: int = 1
    dropout: float = 0.2
    dtype: DType = "float32"
    remat: Remat = "none"

    def __post_init__(self):
        _check(self)


def _check(config) -> None:
    """`InputError` for a choice, a size or a rate out of range."""
    check_choices(config, section="model")
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.type is int and (not isinstance(value, int) or value < 1):
            raise InputError(f"model.{field.name}={value!r}: must be at least 1")
        if field.name == "dropout" and not (isinstance(value, int | float) and 0 <= value < 1):
            raise InputError(f"model.dropout={value}: must be in [0, 1)")
