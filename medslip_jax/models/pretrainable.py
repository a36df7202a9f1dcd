"""`from_pretrained` and `save_pretrained`, the two methods that users of the Hugging Face hub look for on a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medslip_jax.text.books import TextBooks
    from medslip_jax.weights.loading import Pretrained


class Pretrainable:
    """Mix-in of the models. The work is in `medslip_jax.weights.loading`, which is imported when a method is called."""

    config: Any  # of the model

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | Path) -> "Pretrained":
        """A model of this class with its weights, text tables and description.

        Args:
          path_or_hub_id: whatever `medslip_jax.weights.loading.load` reads: a directory of `save_pretrained`, a run, a
            `.pth` or `.safetensors` file, a hub id such as "owner/name".

        Raises:
          InputError: nothing usable there, or another kind of model.
        """
        from medslip_jax.models.kinds import KINDS
        from medslip_jax.weights.loading import load

        kind = next(kind for kind, (_, module) in KINDS.items() if issubclass(cls, module))
        return load(path_or_hub_id, kind=kind)["pretrained"]

    def save_pretrained(
        self,
        directory: str | Path,
        *,
        variables: Mapping,
        license: str,
        books: "TextBooks | None" = None,
        info: Mapping | None = None,
        metrics: Mapping | None = None,
    ) -> None:
        """Writes model.safetensors (PyTorch names), config.json, books.npz and a model card, all or nothing.

        Args:
          directory: made or replaced.
          variables: {"params", "batch_stats"} of this module.
          license: of the weights, an SPDX or hub identifier such as "cc-by-nc-4.0"; required, as nobody may use
            weights without one.
          books: the text tables the model was trained with (pre-training models).
          info: facts for config.json and the card; see `medslip_jax.weights.bundle.describe`.
          metrics: {name: number or {"value", "low", "high"}} for the card.

        Raises:
          InputError: no licence, variables that do not fit the module, or an unwritable directory.
        """
        from medslip_jax.weights.loading import Pretrained

        pretrained = Pretrained(self.config, variables, books, dict(info or {}))
        pretrained.save_pretrained(directory, license=license, metrics=metrics)
