"""Writes a bundle in each form that it travels in; every target is replaced whole or left as it was."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from medslip_jax.checkpoints import BOOKS, write_model
from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import UNKNOWN_BOOKS, default_experiment
from medslip_jax.experiment.trees import tree_of
from medslip_jax.models.kinds import fields_of, kind_of
from medslip_jax.storage.files import file_hash, replacing_directory, replacing_file, write_bytes
from medslip_jax.storage.matching import some
from medslip_jax.storage.tensor_files import (
    PRETRAINED_WEIGHTS,
    SUFFIXES,
    books_file,
    info_bytes,
    info_file,
    writing_state,
)
from medslip_jax.text.books import books_hash, save_books
from medslip_jax.weights.bundle import ModelBundle, describe
from medslip_jax.weights.model_card import model_card
from medslip_jax.weights.torch.conversion import to_torch

# What a directory of `save_pretrained` or a converted checkpoint consists of.
_OURS = (
    *(PRETRAINED_WEIGHTS, "config.json", "books.npz", "README.md", ".gitattributes"),
    *("model", "config", "info", "_CHECKPOINT_METADATA", "commit_success.txt", "digests.json"),
)
DirectoryForm = Literal["orbax", "pretrained"]
Form = Literal["weights", DirectoryForm]


def form_of(path: Path, directory_form: DirectoryForm) -> Form:
    """What `path` is to become: a weights file by its suffix, else a directory of `directory_form`."""
    if path.suffix.lower() in SUFFIXES:
        return "weights"
    if path.suffix and directory_form != "pretrained" and len(path.suffix) <= 5 and not path.suffix[1:].isdigit():
        raise InputError(f"--to {path}: unknown suffix {path.suffix}; write {', '.join(SUFFIXES)} or a directory")
    return directory_form


def targets(path: Path, form: Form) -> list[Path]:
    """The files and directories that writing touches."""
    return [path, info_file(path), books_file(path)] if form == "weights" else [path]


def save_weights(bundle: ModelBundle, path: str | Path) -> None:
    """`.pth` as {"model": state_dict} or `.safetensors`, with its description and text tables beside it.

    All are written before the first is renamed. The description carries the hash of the weights and these are renamed
    first, so that a stop in between is found out: side files of another version are refused when read.

    Raises:
      InputError: unwritable, or `.pth` without PyTorch.
    """
    path = Path(path)
    state = to_torch(bundle.variables, bundle.config, batches_tracked=bundle.info.get("num_batches_tracked", 0))
    # Entered last, renamed first.
    with contextlib.ExitStack() as stack:
        if bundle.books is not None:
            save_books(bundle.books, path=stack.enter_context(replacing_file(books_file(path))))
        info = stack.enter_context(replacing_file(info_file(path)))
        temporary = stack.enter_context(writing_state(path, state))
        info.write_bytes(info_bytes(dict(bundle.info) | {"weights_sha256": file_hash(temporary)}))
    if bundle.books is None:
        books_file(path).unlink(missing_ok=True)


def save_pretrained(
    bundle: ModelBundle, directory: str | Path, *, license: str, metrics: Mapping | None = None
) -> None:
    """model.safetensors, config.json, books.npz and README.md in a new directory; an old one is replaced.

    Raises:
      InputError: no licence, no text tables for a pre-training model, metrics that are no numbers, or unwritable.
    """
    if not license or not license.strip():
        raise InputError("license is empty: say under which licence the weights may be used, such as cc-by-nc-4.0")
    complete = describe(bundle.config, books=bundle.books, inherited=bundle.info) | {"license": license}
    complete["experiment"] = _without_places(complete["experiment"])
    # Earlier ones may have been measured on other weights.
    complete.pop("metrics", None)
    if metrics:
        metrics = complete["metrics"] = {name: _numbers(value, name=name) for name, value in metrics.items()}
    bundle = ModelBundle(bundle.config, bundle.variables, bundle.books, complete)
    _ = bundle.inputs
    card = model_card(complete, license=license, metrics=metrics)
    _check_replaceable(Path(directory))
    with replacing_directory(directory) as temporary:
        save_weights(bundle, temporary / PRETRAINED_WEIGHTS)
        write_bytes(temporary / "README.md", card.encode())


def _without_places(settings: Mapping | None) -> dict | None:
    """An experiment without the directories of the machine that ran it, which are nobody's business."""
    if settings is None:
        return None
    data, books = dict(settings["data"]) | {"dir": ""}, dict(settings["books"]) | {"path": ""}
    # A data set may be named by its path, in a mixture too.
    for key in ("name", "mixture"):
        if data.get(key):
            data[key] = ",".join(_last_part(item.strip()) for item in data[key].split(","))
    return {**settings, "data": data, "books": books, "init_from": Path(settings.get("init_from", "")).name}


def _last_part(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name


def _numbers(value: float | Mapping, *, name: str) -> float | int | dict | None:
    """A metric as JSON takes it: a number of Python's own, None where it is undefined, or a dict of these."""
    if isinstance(value, Mapping):
        return {key: _numbers(number, name=name) for key, number in value.items()}
    if value is None or (np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf" and np.isfinite(value)):
        return value if value is None else np.asarray(value).item()
    raise InputError(f"metrics: {name} is {value!r}; expected a finite number, or None where it is undefined")


def save_orbax(bundle: ModelBundle, directory: str | Path) -> None:
    """A checkpoint directory that `medslip evaluate` reads and training starts from; an old one is replaced.

    Raises:
      InputError: unwritable.
    """
    _check_replaceable(Path(directory))
    with replacing_directory(directory) as temporary:
        write_model(temporary, bundle.variables, config=_experiment(bundle), info=bundle.info)
        if bundle.books is not None:
            save_books(bundle.books, path=temporary / BOOKS)


def _check_replaceable(path: Path) -> None:
    """`InputError` for a directory with anything in it that is not ours: it would be deleted."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, and a directory would take its place; give another name")
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS) if path.is_dir() else []
    if others:
        raise InputError(f"{path}: holds other things than a converted model ({some(others)}); give another name")


def _experiment(bundle: ModelBundle) -> dict:
    """The config tree that the weights came with, or the default one around their model."""
    known = bundle.info.get("experiment")
    tree = dict(known) if known else tree_of(default_experiment(kind_of(bundle.config)))
    # Whoever reads the checkpoint finds the tables in it.
    books = {"path": "", "tables": bundle.info.get("books", {}).get("tables", "as_is"), "sha256": UNKNOWN_BOOKS}
    if bundle.prepared_books is not None:
        books["sha256"] = books_hash(bundle.prepared_books)
    return tree | {"model": fields_of(bundle.config), "books": books}
