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


class Block(nn.Module):
    """1 x 1 -> 3 x 3 -> 1 x 1 times four (`bottleneck`), or 3 x 3 -> 3 x 3, plus the shortcut.

    The stride is on the first 3 x 3; `norm_groups` are `BatchNorm`'s.
    """

    bottleneck: bool
    width: int
    stride: int
    dtype: str
    norm_groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        def norm(y: Array, name: str) -> Array:
            return BatchNorm(self.norm_groups, name=name)(y, train=train)

        width, stride, dtype = self.width, self.stride, self.dtype
        if self.bottleneck:
            y = nn.relu(norm(PointwiseConv(width, dtype=dtype, name="conv1")(x), "bn1"))
            y = nn.relu(norm(Conv(width, 3, stride, dtype, name="conv2")(y), "bn2"))
            y = norm(PointwiseConv(4 * width, dtype=dtype, name="conv3")(y), "bn3")
        else:
            y = nn.relu(norm(Conv(width, 3, stride, dtype, name="conv1")(x), "bn1"))
            y = norm(Conv(width, 3, 1, dtype, name="conv2")(y), "bn2")
        if stride != 1 or x.shape[-1] != y.shape[-1]:
            x = norm(PointwiseConv(y.shape[-1], stride, dtype, name="downsample_conv")(x), "downsample_bn")
        return nn.relu(y + x)


def resnet_stage(
    x: Float[Array, "b h w c"], config: TrunkConfig, *, stage: int, norm_groups: int, train: bool
) -> Float[Array, "b h2 w2 d"]:
    """`layer{stage}`: its blocks one after another, named layer{stage}_{j}. Called inside a compact scope."""
    bottleneck = config.backbone == "resnet50"
    for j in range(DEPTHS[config.backbone][stage - 1]):
        stride = 2 if stage > 1 and j == 0 else 1
        width = config.trunk_width * 2 ** (stage - 1)
        module = Block(bottleneck, width, stride, config.dtype, norm_groups, name=f"layer{stage}_{j}")
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
