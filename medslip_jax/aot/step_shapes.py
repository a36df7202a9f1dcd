"""The train step of a config as shapes: what it reads and what is fixed in it, with no data set and no weights.

What of the data is part of the program are the text tables and the number of images, which sets the schedule. Where
they are not on this machine others take their place, and `Step.notes` says so.
"""

import functools
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh

from data_pipelines.records import MATRIX_SHAPE
from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import BooksConfig, DataConfig, Experiment, FineTuning
from medslip_jax.experiment.tables import load_tables
from medslip_jax.finetuning import known_split, make_tuner
from medslip_jax.pretraining import make_trainer, training_source
from medslip_jax.step.train_step import StepParts
from medslip_jax.testing import tiny_books
from medslip_jax.text.books import prepared

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


def step_of(experiment: Experiment, *, mesh: Mesh) -> Step:
    """The train step of pre-training or fine-tuning on the devices of a mesh.

    Raises:
      InputError: a config that cannot be trained.
    """
    size = experiment.data.image_size
    image: dict[str, tuple[tuple[int, ...], str]] = {"image": ((size, size), "uint8")}
    if isinstance(experiment, FineTuning):
        data, targets = experiment.data, experiment.task.wanted
        images = _images(data, lambda: known_split(data, "train", targets=targets, fraction=data.fraction))
        k = len(targets.specs)
        truth = ((k,), "int8") if targets.kind == "labels" else ((size, size, k), "uint8")
        tuner = make_tuner(experiment, num_images=images["count"], mesh=mesh)
        return Step(parts=tuner, batch={**image, targets.kind: truth}, image_size=size, notes=images["notes"])
    images = _images(experiment.data, functools.partial(training_source, experiment.data))
    tables = _tables(experiment.books, text_dim=experiment.model.text_dim)
    trainer = make_trainer(experiment, books=tables["books"], num_images=images["count"], mesh=mesh)
    batch = image | {"matrix": (MATRIX_SHAPE, "int8")}
    return Step(parts=trainer, batch=batch, image_size=size, notes=images["notes"] + tables["notes"])


def _images(data: DataConfig, source: Callable[[], Sized]) -> dict:
    """{"count", "notes"}: images of the run, as its config says, or its data set, or a number that stands in."""
    if data.train_images:
        return {"count": data.train_images, "notes": ()}
    try:
        return {"count": len(source()), "notes": ()}
    except InputError as error:
        note = (
            f"{error}; until then the schedule is that of {_UNKNOWN_IMAGES:,} images; "
            "--config.data.train_images=N says how many there will be"
        )
        return {"count": _UNKNOWN_IMAGES, "notes": (note,)}


def _tables(books: BooksConfig, *, text_dim: int) -> dict:
    """{"books", "notes"}: the text tables; where they are not here, random ones of the width (zeros would fold)."""
    if not books.path or Path(books.path).exists():
        return {"books": load_tables(books, text_dim=text_dim), "notes": ()}
    note = f"{books.path} is not here: random text tables of width {text_dim} stand in"
    return {"books": prepared(tiny_books(text_dim), text_tables=books.tables), "notes": (note,)}
