"""Fine-tuned segmentation: a U-Net on the pre-trained trunk (SPEC 7).

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015, with the ResNet as its
contracting path.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.errors import InputError
from medslip_jax.models.config import SegmenterConfig
from medslip_jax.models.dropout import Dropout
from medslip_jax.models.layers import BatchNorm, Conv, Linear, TransposedConv
from medslip_jax.models.pretrainable import Pretrainable
from medslip_jax.models.resnet import ResNetTrunk


class ConvBlock(nn.Module):
    """3 x 3 convolution with bias, BatchNorm, ReLU."""

    features: int
    dtype: str
    norm_groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w d"]:
        x = Conv(self.features, 3, 1, self.dtype, bias="torch", name="conv")(x)
        return nn.relu(BatchNorm(self.norm_groups, name="bn")(x, train=train))


class UpBlock(nn.Module):
    """Twice the resolution, joined with the skip, then two convolution blocks."""

    features: int
    dtype: str
    norm_groups: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 s"], *, train: bool
    ) -> Float[Array, "b h2 w2 d"]:
        x = TransposedConv(self.features, 2, self.dtype, name="upsample")(x)
        x = jnp.concatenate([x, jnp.asarray(skip, x.dtype)], axis=-1)
        for i in (1, 2):
            x = ConvBlock(self.features, self.dtype, self.norm_groups, name=f"conv_block_{i}")(x, train=train)
        return x


class Segmenter(Pretrainable, nn.Module):
    """Image -> one logit a class and pixel. Pre-trained weights enter up to `layer3` by name.

    Example:
      variables = Segmenter(SegmenterConfig()).init(key, image)
      probability = jax.nn.sigmoid(Segmenter(config).apply(variables, image))
    """

    config: SegmenterConfig = SegmenterConfig()
    # Of `BatchNorm`, for training; no part of the config, as it belongs to the machine.
    norm_groups: int = 1

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], *, train: bool = False, frozen: int = 0
    ) -> Float[Array, "b h w k"]:
        """float32 ImageNet-normalised images, sides divisible by 16 -> float32 logits of the same size.

        Training needs `mutable=["batch_stats"]` and `rngs={"dropout": key}`; the first `frozen` stages of the trunk
        then keep their statistics. `InputError` for other sides.
        """
        c = self.config
        if any(side % 16 for side in image.shape[1:3]):
            sides = f"{image.shape[1]} x {image.shape[2]}"
            raise InputError(f"images of {sides} pixels: the U-Net takes sides divisible by 16; resize or pad them")
        groups = self.norm_groups
        stages = ResNetTrunk(c, groups, name="trunk")(image, train=train, frozen=frozen)
        x = stages["layer3"]
        features = x.shape[-1]
        for i in range(2):
            x = ConvBlock(features, c.dtype, groups, name=f"bridge_{i}")(x, train=train)
        for i, skip in enumerate((stages["layer2"], stages["layer1"], stages["stem"], image)):
            x = UpBlock(features // 2 ** (i + 1), c.dtype, groups, name=f"up_{i}")(x, skip, train=train)
        x = Dropout(c.dropout)(jnp.asarray(x, jnp.float32), train=train)
        return Linear(c.num_classes, "torch", name="head")(x)
