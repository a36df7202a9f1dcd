"""ResNet-50 and ResNet-18 up to `layer3`, numerically torchvision's (SPEC 3.1).

He et al., "Deep Residual Learning for Image Recognition", 2016, in the v1.5 form: the stride of a bottleneck sits
on its 3 x 3 convolution. Module names are torchvision's, so that the conversion table stays short.
"""

from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.models.layers import BatchNorm, Conv, PointwiseConv

# Blocks in layer1, layer2, layer3.
DEPTHS = {"resnet50": (3, 4, 6), "resnet18": (2, 2, 2)}
EXPANSION = {"resnet50": 4, "resnet18": 1}


def trunk_channels(backbone: str, width: int) -> int:
    """Channels of the `layer3` output: 1024 for the paper's ResNet-50, 256 for ResNet-18."""
    return 4 * width * EXPANSION[backbone]


class Bottleneck(nn.Module):
    """1 x 1 -> 3 x 3 (stride) -> 1 x 1 times four, plus the shortcut."""

    width: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = PointwiseConv(self.width, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = Conv(self.width, 3, self.stride, self.dtype, name="conv2")(y)
        y = nn.relu(BatchNorm(name="bn2")(y, train=train))
        y = PointwiseConv(4 * self.width, dtype=self.dtype, name="conv3")(y)
        y = BatchNorm(name="bn3")(y, train=train)
        return nn.relu(y + _shortcut(x, 4 * self.width, self.stride, self.dtype, train))


class BasicBlock(nn.Module):
    """3 x 3 (stride) -> 3 x 3, plus the shortcut."""

    width: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        y = Conv(self.width, 3, self.stride, self.dtype, name="conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = Conv(self.width, 3, 1, self.dtype, name="conv2")(y)
        y = BatchNorm(name="bn2")(y, train=train)
        return nn.relu(y + _shortcut(x, self.width, self.stride, self.dtype, train))


def _shortcut(x: Array, features: int, stride: int, dtype: str, train: bool) -> Array:
    """The identity, or torchvision's `downsample` where the shape changes. Called inside a block's compact scope."""
    if stride == 1 and x.shape[-1] == features:
        return x
    x = PointwiseConv(features, stride, dtype, name="downsample_conv")(x)
    return BatchNorm(name="downsample_bn")(x, train=train)


class ResNetTrunk(nn.Module):
    """Image -> patch grid at 1/16 of the resolution; 224 x 224 x 3 -> 14 x 14 x 1024 for the paper's model."""

    backbone: str = "resnet50"
    width: int = 64
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], *, train: bool) -> Float[Array, "b h16 w16 c"]:
        block = Bottleneck if self.backbone == "resnet50" else BasicBlock
        x = Conv(self.width, 7, 2, self.dtype, name="conv1")(image)
        x = nn.relu(BatchNorm(name="bn1")(x, train=train))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for i, depth in enumerate(DEPTHS[self.backbone]):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                x = block(self.width * 2**i, stride, self.dtype, name=f"layer{i + 1}_{j}")(x, train=train)
        return x
