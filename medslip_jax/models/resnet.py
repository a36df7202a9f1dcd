"""ResNet-50 and ResNet-18, numerically torchvision's (SPEC 3.1).

He et al., "Deep Residual Learning for Image Recognition", 2016, in the v1.5 form: the stride of a bottleneck sits
on its 3 x 3 convolution. Module names are torchvision's, so that the conversion table stays short.
"""

import jax
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from medslip_jax.models.layers import BatchNorm, Conv, PointwiseConv
from medslip_jax.models.pooling import max_pool

# Blocks in layer1 .. layer4.
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}
# What the backward pass of a block finds in memory; what is not named here it computes anew.
_KEPT = {
    "convolutions": jax.checkpoint_policies.save_only_these_names("convolution"),
    "blocks": jax.checkpoint_policies.nothing_saveable,
}


class Bottleneck(nn.Module):
    """1 x 1 -> 3 x 3 (stride) -> 1 x 1 times four, plus the shortcut."""

    width: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = _named(PointwiseConv(self.width, dtype=self.dtype, name="conv1")(x))
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = _named(Conv(self.width, 3, self.stride, self.dtype, name="conv2")(y))
        y = nn.relu(BatchNorm(name="bn2")(y, train=train))
        y = _named(PointwiseConv(4 * self.width, dtype=self.dtype, name="conv3")(y))
        y = BatchNorm(name="bn3")(y, train=train)
        return nn.relu(y + _shortcut(x, 4 * self.width, self.stride, self.dtype, train))


class BasicBlock(nn.Module):
    """3 x 3 (stride) -> 3 x 3, plus the shortcut."""

    width: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = _named(Conv(self.width, 3, self.stride, self.dtype, name="conv1")(x))
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = _named(Conv(self.width, 3, 1, self.dtype, name="conv2")(y))
        y = BatchNorm(name="bn2")(y, train=train)
        return nn.relu(y + _shortcut(x, self.width, self.stride, self.dtype, train))


def _named(x: Array) -> Array:
    return checkpoint_name(x, "convolution")


def _shortcut(x: Array, features: int, stride: int, dtype: str, train: bool) -> Array:
    """The identity, or torchvision's `downsample` where the shape changes. Called inside a block's compact scope."""
    if stride == 1 and x.shape[-1] == features:
        return x
    x = _named(PointwiseConv(features, stride, dtype, name="downsample_conv")(x))
    return BatchNorm(name="downsample_bn")(x, train=train)


def resnet_stage(
    x: Float[Array, "b h w c"], *, backbone: str, width: int, stage: int, dtype: str, train: bool, remat: str = "none"
) -> Float[Array, "b h2 w2 d"]:
    """`layer{stage}`: its blocks one after another, named layer{stage}_{j}. Called inside a compact scope."""
    block = Bottleneck if backbone == "resnet50" else BasicBlock
    for j in range(DEPTHS[backbone][stage - 1]):
        stride = 2 if stage > 1 and j == 0 else 1
        module = block(width * 2 ** (stage - 1), stride, dtype, name=f"layer{stage}_{j}")
        if train and remat != "none":
            x = nn.remat(lambda module, x: module(x, train=True), policy=_KEPT[remat])(module, x)
        else:
            x = module(x, train=train)
    return x


class ResNetTrunk(nn.Module):
    """Image -> every stage's output: "stem" (1/2, after its ReLU), "layer1" (1/4) .. "layer4" (1/32).

    The pre-trained trunk ends with `layer3`: 224 x 224 x 3 -> 14 x 14 x 1024 for the paper's model. `frozen` stages
    (with the stem before them) keep their running statistics in training too.
    """

    backbone: str = "resnet50"
    width: int = 64
    stages: int = 3
    dtype: str = "float32"
    remat: str = "none"

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], *, train: bool, frozen: int = 0
    ) -> dict[str, Float[Array, "b h2 w2 d"]]:
        x = Conv(self.width, 7, 2, self.dtype, name="conv1")(image)
        x = nn.relu(BatchNorm(name="bn1")(x, train=train and not frozen))
        out = {"stem": x}
        x = max_pool(x)
        for stage in range(1, self.stages + 1):
            x = resnet_stage(
                x,
                backbone=self.backbone,
                width=self.width,
                stage=stage,
                dtype=self.dtype,
                train=train and stage > frozen,
                remat=self.remat,
            )
            out[f"layer{stage}"] = x
        return out
