"""A model with its weights, its text tables and what is known of it: what travels, in whatever form."""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Mapping

import numpy as np
from flax import linen as nn

from medslip_jax.errors import InputError
from medslip_jax.models.kinds import ModelConfig, fields_of, kind_of, make_module
from medslip_jax.step.train_step import IMAGENET_MEAN, IMAGENET_STD
from medslip_jax.text.books import TextBooks, books_hash, prepared
from medslip_jax.version import __version__
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

FORMAT = "medslip_jax 1"
_PACKAGES = ("jax", "flax", "numpy", "orbax-checkpoint", "safetensors")


@dataclasses.dataclass(frozen=True, eq=False)
class ModelBundle:
    """One model.

    Attributes:
      config: of any kind; says what `module` is.
      variables: {"params", "batch_stats"}, NumPy or JAX arrays.
      books: text tables as read (not prepared), None if unknown or not needed.
      info: JSON-able description, see `describe`.
    """

    config: ModelConfig
    variables: Mapping
    books: TextBooks | None
    info: Mapping

    @property
    def module(self) -> nn.Module:
        return make_module(self.config)

    @functools.cached_property
    def prepared_books(self) -> TextBooks | None:
        """The tables as the model reads them: centred if it was trained so."""
        tables = self.info.get("books", {}).get("tables", "as_is")
        return self.books and prepared(self.books, text_tables=tables)

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """What the module takes beside images: the two text tables, or nothing.

        Raises:
          InputError: the model needs text tables and none are known.
        """
        if kind_of(self.config) != "medslip":
            return ()
        if self.prepared_books is None:
            raise InputError("this model came without text tables; give those that it was trained with (--books FILE)")
        return self.prepared_books.pathology, self.prepared_books.anatomy


def describe(
    config: ModelConfig,
    *,
    experiment: Mapping | None = None,
    books: TextBooks | None = None,
    source: Mapping | None = None,
    inherited: Mapping | None = None,
) -> dict:
    """The JSON-able description that goes with the weights in every form.

    Args:
      config: the model's.
      experiment: the config tree of the whole experiment, if known.
      books: the text tables, as read.
      source: {"name", "sha256"} of what it was read from.
      inherited: a description that came with the source; what it alone knows is kept.
    """
    inherited = dict(inherited or {})
    settings = experiment if experiment is not None else inherited.get("experiment")
    size = settings["data"]["image_size"] if settings else (inherited.get("preprocessing") or {}).get("image_size", 224)
    tables = settings["books"]["tables"] if settings else inherited.get("books", {}).get("tables", "as_is")
    return inherited | {
        "format": FORMAT,
        "kind": kind_of(config),
        "model": fields_of(config),
        "experiment": settings,
        "classes": {"pathology": list(PATHOLOGIES), "anatomy": list(ANATOMIES)}
        if kind_of(config) == "medslip"
        else _own_classes(settings) or inherited.get("classes"),
        "preprocessing": {
            "image_size": size,
            "resize": "squash to image_size x image_size, bicubic with anti-aliasing",
            "channels": "grey, repeated three times",
            "scale": "uint8 / 255",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        "books": _describe_books(books, inherited) | {"tables": tables},
        "versions": {
            "medslip_jax": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "source": dict(source or inherited.get("source", {})),
    }


def _own_classes(settings: Mapping | None) -> dict | None:
    """The targets of a fine-tuning run, which are the names of its model's outputs."""
    targets = (settings or {}).get("targets")
    return {"targets": [target.partition("=")[0] for target in targets]} if targets else None


def _describe_books(books: TextBooks | None, inherited: Mapping) -> dict:
    """Where the tables come from (encoder, prompts' hash, ...) and the hash of their numbers."""
    return books.provenance | {"sha256": books_hash(books)} if books else dict(inherited.get("books", {}))
