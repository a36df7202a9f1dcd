"""The train step of a config as shapes: what it reads and what is fixed in it, with no data set and no weights.

What of the data is part of the program are the text tables and the number of images, which sets the schedule. Where
they are not on this machine others take their place, and `Step.notes` says so.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.records import MATRIX_SHAPE
from medslip_jax.cli import pretrain
from medslip_jax.errors import InputError
from medslip_jax.finetuning import parts as fine_tuning
from medslip_jax.step.train_step import StepParts
from medslip_jax.testing import tiny_books
from medslip_jax.text.books import save_books

# Of a run whose data set is not here; it sets numbers of the schedule and changes neither FLOPs nor memory.
_UNKNOWN_IMAGES = 100_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is compiled.

    Attributes:
      parts: the run's fixed parts.
      batch: {key: (shape of one image's part, dtype)} of what a step reads.
      image_size: side in pixels.
      notes: what stands in for something that is not on this machine, a line each.
    """

    parts: StepParts
    batch: Mapping[str, tuple[tuple[int, ...], str]]
    image_size: int
    notes: tuple[str, ...] = ()


def step_of(config: ConfigDict, *, mesh: Mesh) -> Step:
    """The train step of a pre-training or fine-tuning config on the devices of a mesh.

    Raises:
      InputError: a config that cannot be trained.
    """
    size, matrix = config.data.image_size, {"matrix": (MATRIX_SHAPE, "int8")}
    image = {"image": ((size, size), "uint8")}
    if config.get("kind") in fine_tuning.METRICS:
        config = fine_tuning.settled(config)
        images = _images(config, lambda: fine_tuning.known_split(config, "train", fraction=config.data.fraction))
        targets = fine_tuning.targets_of(config)
        k = len(targets.specs)
        truth = {"labels": ((k,), "int8")} if targets.kind == "labels" else {"masks": ((size, size, k), "uint8")}
        parts = fine_tuning.make_tuner(config, num_images=images["count"], mesh=mesh)
        return Step(parts=parts, batch=image | truth, image_size=size, notes=images["notes"])
    images = _images(config, lambda: pretrain.training_source(config))
    with _books_at_hand(config) as (config, notes):
        parts = pretrain.make_trainer(config, num_images=images["count"], mesh=mesh)
    return Step(parts=parts, batch=image | matrix, image_size=size, notes=images["notes"] + notes)


def _images(config: ConfigDict, source: Callable[[], Sized]) -> dict:
    """{"count", "notes"}: images of the run, as its config says, or its data set, or a number that stands in."""
    if config.data.train_images:
        return {"count": config.data.train_images, "notes": ()}
    try:
        return {"count": len(source()), "notes": ()}
    except InputError as error:
        note = (
            f"{error}; until then the schedule is that of {_UNKNOWN_IMAGES:,} images; "
            "--config.data.train_images=N says how many there will be"
        )
        return {"count": _UNKNOWN_IMAGES, "notes": (note,)}


@contextlib.contextmanager
def _books_at_hand(config: ConfigDict) -> Iterator[tuple[ConfigDict, tuple[str, ...]]]:
    """The config, and in place of text tables that are not here random ones of the same width (zeros would fold)."""
    if not config.books.path or Path(config.books.path).exists():
        yield config, ()
        return
    note = f"{config.books.path} is not here: random text tables of width {config.model.text_dim} stand in"
    config = config.copy_and_resolve_references()
    with tempfile.TemporaryDirectory() as directory:
        config.books.path, config.books.sha256 = str(Path(directory) / "books.npz"), ""
        save_books(tiny_books(config.model.text_dim), path=config.books.path)
        yield config, (note,)
