"""Builds a data set beside its place and moves it there when it is complete."""

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines.datasets import builder_class
from medslip_jax.errors import InputError

DROPS_FILE, NOTES_FILE = "drops.json", "notes.json"


def build(name: str, *, out: str | Path, existing: str = "refuse", **arguments) -> dict:
    """Builds data set `name` as out/name/version.

    The files are written to a hidden directory in `out` and renamed at the end, so that a build that stops
    half-way leaves nothing which looks like data, and what it was to replace stays. What was left out is in
    drops.json next to dataset_info.json, what to know about the splits in notes.json.

    Args:
      name: a key of `datasets.BUILDERS`.
      out: the data directory, later the first argument of `datasets.open_split`.
      existing: "refuse" or "overwrite" what is already there.
      **arguments: of the builder class.

    Returns:
      {"directory": str, "splits": {split: examples}, "drops": [{"row", "file", "reason"}],
      "notes": [str]}, a note being one line on splits that may not be independent.

    Raises:
      InputError: out/name exists and is not to be overwritten, cannot be written, or whatever the builder
        complains of.
    """
    final = Path(out) / name
    cls = builder_class(name)
    if final.exists() and existing != "overwrite":
        raise InputError(f"{final} exists; choose another --out or add --overwrite")
    with _work_directory(final) as work:
        builder = cls(data_dir=work, **arguments)
        _prepare(builder)
        drops = sorted(getattr(builder, "drops", []), key=lambda drop: drop["row"])
        notes = getattr(builder, "notes", [])
        splits = {split: info.num_examples for split, info in builder.info.splits.items()}
        if not sum(splits.values()):
            raise InputError(f"{name}: all {len(drops)} rows were dropped, the first: {drops[0]['reason']}")
        target = Path(builder.data_dir)
        for file, entries in ((DROPS_FILE, drops), (NOTES_FILE, notes)):
            (target / file).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
        _replace(final, work / name)
    return {"directory": str(final / target.name), "splits": splits, "drops": drops, "notes": notes}


@contextlib.contextmanager
def _work_directory(final: Path) -> Iterator[Path]:
    """A hidden directory beside `final`, on the same disk so that it can be renamed; gone afterwards.

    An `OSError` of the block, such as a full disk, becomes an `InputError` that names the directory.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{final.name}-building-", dir=final.parent))
    except OSError as error:
        raise InputError(f"{final.parent}: cannot write there ({error.strerror})") from error
    try:
        yield work
    except OSError as error:
        raise InputError(
            f"{final.parent}: cannot build there ({error.strerror or error}); choose another --out"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _replace(final: Path, new: Path) -> None:
    """Moves `new` to `final`. What was there is deleted last, and comes back if `new` cannot be moved."""
    old = final.with_name(f".{final.name}-replaced-{os.getpid()}")
    if final.exists():
        final.rename(old)
    try:
        new.rename(final)
    finally:
        if old.exists() and not final.exists():
            old.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _prepare(builder: tfds.core.DatasetBuilder) -> None:
    """TFDS speaks of downloads and of directories gone afterwards; our builders show their own bars.

    Raises:
      OSError: the records cannot be written.
    """
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except RuntimeError as error:  # ArrayRecord's writer raises nothing else, whatever the cause
        failed = re.search(r"write\(\) failed: ([^;]+)", str(error))
        if not failed:
            raise
        raise OSError(failed[1]) from error
    finally:
        tfds.enable_progress_bar()
