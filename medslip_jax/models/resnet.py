"""ResNet-50 and ResNet-18, numerically torchvision's (SPEC 3.1).

He et al., "Deep Residual Learning for Image Recognition", 2016, in the v1.5 form: the stride of a bottleneck sits
on its 3 x 3 convolution. Module names are torchvision's, so that the conversion table stays short.
"""

from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.models.config import TrunkConfig
from medslip_jax.models.layers import BatchNorm, Conv, PointwiseConv
from medslip_jax.models.pooling import max_pool

# Blocks in layer1 .. layer4.
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}


class _Block(nn.Module):
    """What both kinds of block are made with; `norm_groups` are `BatchNorm`'s."""

    width: int
    stride: int
    dtype: str
    norm_groups: int

    def norm(self, name: str) -> BatchNorm:
        return BatchNorm(self.norm_groups, name=name)

    def shortcut(self, x: Array, features: int, *, train: bool) -> Array:
        """The identity, or torchvision's `downsample` where the shape changes."""
        if self.stride == 1 and x.shape[-1] == features:
            return x
        x = PointwiseConv(features, self.stride, self.dtype, name="downsample_conv")(x)
        return self.norm("downsample_bn")(x, train=train)


class Bottleneck(_Block):
    """1 x 1 -> 3 x 3 (stride) -> 1 x 1 times four, plus the shortcut."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = PointwiseConv(self.width, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(self.norm("bn1")(y, train=train))
        y = Conv(self.width, 3, self.stride, self.dtype, name="conv2")(y)
        y = nn.relu(self.norm("bn2")(y, train=train))
        y = PointwiseConv(4 * self.width, dtype=self.dtype, name="conv3")(y)
        y = self.norm("bn3")(y, train=train)
        return nn.relu(y + self.shortcut(x, 4 * self.width, train=train))


class BasicBlock(_Block):
    """3 x 3 (stride) -> 3 x 3, plus the shortcut."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = Conv(self.width, 3, self.stride, self.dtype, name="conv1")(x)
        y = nn.relu(self.norm("bn1")(y, train=train))
        y = Conv(self.width, 3, 1, self.dtype, name="conv2")(y)
        y = self.norm("bn2")(y, train=train)
        return nn.relu(y + self.shortcut(x, self.width, train=train))


def resnet_stage(
    x: Float[Array, "b h w c"], config: TrunkConfig, *, stage: int, norm_groups: int, train: bool
) -> Float[Array, "b h2 w2 d"]:
    """`layer{stage}`: its blocks one after another, named layer{stage}_{j}. Called inside a compact scope."""
    block = Bottleneck if config.backbone == "resnet50" else BasicBlock
    for j in range(DEPTHS[config.backbone][stage - 1]):
        stride = 2 if stage > 1 and j == 0 else 1
        width = config.trunk_width * 2 ** (stage - 1)
        module = block(width, stride, config.dtype, norm_groups, name=f"layer{stage}_{j}")
        if train and config.remat == "blocks":
            x = nn.remat(lambda module, x: module(x, train=True))(module, x)
        else:
            x = module(x, train=train)
    return x


class ResNetTrunk(nn.Module):
    """Image -> every stage's output: "stem" (1/2, after its ReLU), "layer1" (1/4) .. "layer4" (1/32).

    The pre-trained trunk ends with `layer3`: 224 x 224 x 3 -> 14 x 14 x 1024 for the paper's model. `frozen` stages
    (with the stem before them) keep their running statistics in training too.
    """

    config: TrunkConfig
    norm_groups: int = 1
    stages: int = 3

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], *, train: bool, frozen: int = 0
    ) -> dict[str, Float[Array, "b h2 w2 d"]]:
        c, groups = self.config, self.norm_groups
        x = Conv(c.trunk_width, 7, 2, c.dtype, name="conv1")(image)
        x = nn.relu(BatchNorm(groups, name="bn1")(x, train=train and not frozen))
        out = {"stem": x}
        x = max_pool(x)
        for stage in range(1, self.stages + 1):
            x = resnet_stage(x, c, stage=stage, norm_groups=groups, train=train and stage > frozen)
            out[f"layer{stage}"] = x
        return out
