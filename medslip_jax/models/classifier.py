"""Fine-tuned classification: the whole ResNet, with or without the disentangling block (SPEC 7)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.models.config import ClassifierConfig
from medslip_jax.models.disentangle import project_patches, split_streams
from medslip_jax.models.layers import Linear
from medslip_jax.models.pretrainable import Pretrainable
from medslip_jax.models.resnet import ResNetTrunk, resnet_stage


class Classifier(Pretrainable, nn.Module):
    """Image -> one logit a class. Pre-trained weights enter up to `layer3` by name (`medslip_jax.weights.transfer`).

    Example:
      variables = Classifier(ClassifierConfig(num_classes=14)).init(key, image)
      probability = jax.nn.sigmoid(Classifier(config).apply(variables, image))
    """

    config: ClassifierConfig = ClassifierConfig()
    # Of `BatchNorm`, for training; no part of the config, as it belongs to the machine.
    norm_groups: int = 1

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], *, train: bool = False, frozen: int = 0) -> Float[Array, "b k"]:
        """float32 ImageNet-normalised images, sides divisible by 32 -> float32 logits.

        Training needs `mutable=["batch_stats"]`. The first `frozen` stages of the trunk then keep their statistics.
        """
        c = self.config
        stages = 4 if c.disentangle == "none" and c.last_stage == "layer4" else 3
        trunk = ResNetTrunk(c, self.norm_groups, stages, name="trunk")
        x = trunk(image, train=train, frozen=frozen)[f"layer{stages}"]
        if c.disentangle == "pathology":
            x = resnet_stage(self._pathology_grid(x), c, stage=4, norm_groups=self.norm_groups, train=train)
        pooled = jnp.asarray(x, jnp.float32).mean((1, 2))
        return Linear(c.num_classes, "torch", name="head")(pooled)

    def _pathology_grid(self, grid: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The pathology stream's patches, taken back to the trunk's width by a Linear of their own."""
        c = self.config
        streams = split_streams(grid.reshape(grid.shape[0], -1, grid.shape[-1]), c)
        # The released model holds the anatomy stream's layers too and never reads them; so does its file.
        patches = {name: project_patches(x, c, stream=name) for name, x in streams.items()}
        back = Linear(grid.shape[-1], "torch", dtype=c.dtype, name="back")(patches["pathology"])
        return back.reshape(grid.shape)
