"""MeDSLIP: trunk -> disentangling mask -> two streams -> two query decoders -> heads (SPEC 3)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.disentangle import project_patches, split_streams
from medslip_jax.models.dropout import Dropout
from medslip_jax.models.layers import Linear
from medslip_jax.models.pretrainable import Pretrainable
from medslip_jax.models.query_decoder import LayerNorm, QueryDecoder
from medslip_jax.models.resnet import ResNetTrunk


class MeDSLIP(Pretrainable, nn.Module):
    """The whole model.

    Example:
      variables = MeDSLIP(config).init(key, image, pathology_book, anatomy_book)
      out = MeDSLIP(config).apply(variables, image, pathology_book, anatomy_book, train=False)
      present = jax.nn.softmax(out["pathology"]["logits"])[..., 1]

    Training needs `mutable=["batch_stats"]` and `rngs={"dropout": key}`.
    """

    config: MeDSLIPConfig = MeDSLIPConfig()
    # Of `BatchNorm`, for training; no part of the config, as it belongs to the machine.
    norm_groups: int = 1

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w 3"],
        pathology_book: Float[Array, "p t"],
        anatomy_book: Float[Array, "a t"],
        *,
        train: bool = False,
    ) -> dict[str, dict[str, Array]]:
        """Scores every pathology and anatomy of the tables on every image.

        Args:
          image: float32, ImageNet-normalised, sides divisible by 16 (SPEC 3.1).
          pathology_book: text table with one row a pathology query; any number of rows.
          anatomy_book: the same for anatomies.
          train: batch statistics and dropout on.

        Returns:
          For "pathology" and, with two streams, "anatomy", a dict of float32 arrays: "patches" (b n d), "features"
          (b q d, decoder outputs before dropout), "logits" (b q 2; index 1 = present), "projection" (b q t, for
          ProtoCL) and "attention" (b layers q n, head average; rows sum to 1).
        """
        c = self.config
        grid = ResNetTrunk(c, self.norm_groups, name="trunk")(image, train=train)["layer3"]
        patches = grid.reshape(grid.shape[0], -1, grid.shape[-1])
        streams = {"pathology": patches} if c.streams == "pathology" else split_streams(patches, c)
        books = {"pathology": pathology_book, "anatomy": anatomy_book}
        norm = LayerNorm(name="decoder_norm")
        shared = Linear(c.embed_dim, c.linear_init, dtype=c.dtype, name="query_projection")
        out = {}
        for name, x in streams.items():
            patches = project_patches(x, c, stream=name)
            own = Linear(c.embed_dim, c.linear_init, dtype=c.dtype, name=f"query_projection_{name}")
            queries = (shared if c.share_query_projection else own)(books[name])
            queries = jnp.broadcast_to(queries[None], (image.shape[0], *queries.shape))
            decoded = QueryDecoder(c, name=f"decoder_{name}")(queries, patches, train=train)
            features = norm(jnp.asarray(decoded["features"], jnp.float32))
            out[name] = {
                "patches": jnp.asarray(patches, jnp.float32),
                "features": features,
                "attention": decoded["attention"],
                **self._heads(name, features, train=train),
            }
        return out

    def _heads(self, name: str, features: Float[Array, "b q d"], *, train: bool) -> dict[str, Array]:
        """One dropout feeds both heads (SPEC 3.7); float32, as they are small and feed the losses."""
        c = self.config
        dropped = Dropout(c.dropout)(features, train=train)
        return {
            "logits": Linear(2, c.linear_init, name=f"classifier_{name}")(dropped),
            "projection": Linear(c.text_dim, c.linear_init, name=f"projection_{name}")(dropped),
        }
