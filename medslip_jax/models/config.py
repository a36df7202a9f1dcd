"""What each kind of model is made of: frozen, hashable records, checked when they are made."""

import dataclasses
from typing import Literal

from medslip_jax.errors import InputError, check_choices

Kind = Literal["medslip", "classifier", "segmenter"]
# What sides of an image are multiples of; the grid, or its mask's halving, comes out whole.
STRIDES: dict[Kind, int] = {"medslip": 16, "classifier": 32, "segmenter": 16}


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """What every kind has: the image trunk, and how it is computed. The defaults are the paper's ResNet-50.

    Attributes:
      backbone: torchvision's; of pre-training up to `layer3`.
      trunk_width: channels of the stem; 64 is torchvision's, 32 halves every layer.
      dtype: computations of the trunk and decoders; parameters, statistics, norms and softmax stay float32.
      remat: what the trunk computes anew in the backward pass, for less memory: nothing, or all but the outputs of its
        blocks. The results do not change.
    """

    backbone: Literal["resnet50", "resnet18"] = "resnet50"
    trunk_width: int = 64
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["none", "blocks"] = "none"

    def __post_init__(self):
        check_choices(self, section="model")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and (type(value) is not int or value < 1):
                raise InputError(f"model.{field.name}={value!r}: must be an integer of at least 1")
            if field.type is bool and type(value) is not bool:
                raise InputError(f"model.{field.name}={value!r}: must be true or false")
            if field.name == "dropout" and not (isinstance(value, int | float) and 0 <= value < 1):
                raise InputError(f"model.dropout={value}: must be in [0, 1)")


@dataclasses.dataclass(frozen=True)
class StreamsConfig(TrunkConfig):
    """The block that makes the streams' patches, of pre-training and of the classifier that keeps it.

    Attributes:
      embed_dim: D, the width of patches, queries and decoders.
      mask_activation: what is applied to the disentangling mask: nothing (released), a sigmoid, or "off",
        which feeds both streams the same patches (ablation).
      patch_norm: "layer_norm" normalises each stream's patches before its decoder reads them. Alone it
        made no measurable difference in short runs; the small-budget configs use it with "xavier".
      linear_init: N(0, 0.02) as released, or Xavier uniform, for every linear layer.
    """

    embed_dim: int = 256
    mask_activation: Literal["none", "sigmoid", "off"] = "none"
    patch_norm: Literal["none", "layer_norm"] = "none"
    linear_init: Literal["released", "xavier"] = "released"


@dataclasses.dataclass(frozen=True)
class MeDSLIPConfig(StreamsConfig):
    """Defaults are the paper's ResNet-50 model (SPEC 3).

    Attributes:
      text_dim: T, the width of the text tables.
      decoder_layers: layers of each query decoder.
      decoder_heads: attention heads; must divide embed_dim.
      decoder_ffn_dim: hidden width of a decoder layer's feed-forward block.
      dropout: rate of every dropout (decoders and heads).
      share_query_projection: one Linear(T, D) for both text tables (released), or one for each.
      streams: "dual", or "pathology" for the single-stream ablation, which has neither mask nor anatomy stream.
    """

    text_dim: int = 768
    decoder_layers: int = 4
    decoder_heads: int = 4
    decoder_ffn_dim: int = 1024
    dropout: float = 0.1
    share_query_projection: bool = True
    streams: Literal["dual", "pathology"] = "dual"

    def __post_init__(self):
        super().__post_init__()
        if self.embed_dim % self.decoder_heads:
            raise InputError(
                f"model.decoder_heads={self.decoder_heads} does not divide model.embed_dim={self.embed_dim}"
            )

    @property
    def stream_names(self) -> tuple[str, ...]:
        return ("pathology", "anatomy") if self.streams == "dual" else ("pathology",)


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(StreamsConfig):
    """Defaults are the paper's fine-tuned classifier (SPEC 7): the whole ResNet-50 and one class.

    Attributes:
      num_classes: logits, each with a sigmoid of its own.
      disentangle: "pathology" keeps the disentangling block before `layer4` and reads the pathology stream.
      last_stage: of the trunk that the head reads; pre-training ends with "layer3", which is what a linear probe reads.
    """

    num_classes: int = 1
    disentangle: Literal["none", "pathology"] = "none"
    last_stage: Literal["layer3", "layer4"] = "layer4"

    def __post_init__(self):
        super().__post_init__()
        if self.last_stage == "layer3" and self.disentangle != "none":
            raise InputError("model.last_stage='layer3' reads the trunk itself; it goes with model.disentangle='none'")


@dataclasses.dataclass(frozen=True)
class SegmenterConfig(TrunkConfig):
    """Defaults are the paper's U-Net (SPEC 7) with one class.

    Attributes:
      num_classes: logits a pixel, each with a sigmoid of its own.
      dropout: rate before the last layer.
    """

    num_classes: int = 1
    dropout: float = 0.2
