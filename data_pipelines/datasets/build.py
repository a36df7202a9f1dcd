"""Builds a data set beside its place, in parts that a later run finds again, and moves it there when it is complete."""

import contextlib
import csv
import dataclasses
import fcntl
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines.datasets import builder_class
from data_pipelines.datasets.parts import Part, encode_parts, parts_of
from data_pipelines.datasets.plan import Plan
from medslip_jax.errors import InputError

DROPS_FILE, NOTES_FILE, MANIFEST_FILE = "drops.json", "notes.json", "manifest.csv"
MANIFEST_COLUMNS = ("row", "file", "split", "patient", "labels", "sha256", "reason")


def build(
    name: str,
    *,
    out: str | Path,
    existing: str = "refuse",
    workers: int = 2,
    beam_options: Sequence[str] = (),
    **arguments,
) -> dict:
    """Builds data set `name` as out/name/version.

    Everything is written to the hidden directory out/.NAME-building and renamed at the end, so that a build that stops
    half-way leaves nothing which looks like data, and what it was to replace stays. Whatever stopped it, kill -9
    included: the same call goes on with what is there, and gives the bytes of an undisturbed build. What was left out
    is in drops.json next to dataset_info.json, what to know about the splits in notes.json, a line for every source
    row in manifest.csv.

    Args:
      name: a key of `datasets.BUILDERS`.
      out: the data directory, later the first argument of `datasets.open_split`.
      existing: "refuse" or "overwrite" what is already there.
      workers: processes that encode, 1 for none beside this one; the result does not depend on it.
      beam_options: flags of an Apache Beam pipeline ("--runner=DirectRunner", ...) that encodes in their place.
      **arguments: of the builder's `plan`.

    Returns:
      {"directory": str, "splits": {split: examples}, "drops": [{"row", "file", "kind", "reason", ...}],
      "notes": [str]}, a note being one line on what to know.

    Raises:
      InputError: out/name exists and is not to be overwritten, cannot be written, is being built by another process,
        or whatever the plan or an image leads to.
    """
    final = Path(out) / name
    cls = builder_class(name)
    if final.exists() and existing != "overwrite":
        raise InputError(f"{final} exists; choose another --out or add --overwrite")
    if workers < 1:
        raise InputError(f"{name} workers={workers}: expected at least 1")
    plan = cls.plan(**arguments)
    with _work_directory(final) as work:
        parts = _fresh(work / plan.fingerprint(), plan)
        everything = [part for split in parts.values() for part in split]
        if beam_options:
            from data_pipelines.datasets.beam import encode_parts_on_beam

            encode_parts_on_beam(plan, everything, options=beam_options)
        else:
            encode_parts(plan, everything, workers=workers, name=name)
        builder = cls(plan=plan, parts=parts, data_dir=work / "records")
        _prepare(builder)
        drops = [dataclasses.asdict(drop) for drop in sorted(builder.drops, key=lambda drop: drop.row)]
        notes = builder.notes + builder.image_notes
        target = Path(builder.data_dir)
        _write_lists(target, drops=drops, notes=notes, manifest=builder.manifest)
        splits = {split: info.num_examples for split, info in builder.info.splits.items()}
        _replace(final, work / "records" / name)
    shutil.rmtree(work, ignore_errors=True)
    return {"directory": str(final / target.name), "splits": splits, "drops": drops, "notes": notes}


def _fresh(directory: Path, plan: Plan) -> dict[str, list[Part]]:
    """The parts of a plan in `directory`; what was left by builds of another plan, or half-written, is deleted."""
    for entry in directory.parent.iterdir():
        if entry.is_dir() and entry != directory:
            shutil.rmtree(entry)
    directory.mkdir(exist_ok=True)
    return parts_of(plan, directory)


@contextlib.contextmanager
def _work_directory(final: Path) -> Iterator[Path]:
    """The hidden directory beside `final`, on the same disk so that it can be renamed; held by one process at a time.

    An `OSError` of the block, such as a full disk, becomes an `InputError` that names the directory.
    """
    work = final.parent / f".{final.name}-building"
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    except OSError as error:
        raise InputError(f"{final.parent}: cannot write there ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{final}: another process is building it; wait for it") from error
        try:
            yield work
        except OSError as error:
            raise InputError(
                f"{final.parent}: cannot build there ({error.strerror or error}); "
                "make room and run it again, it goes on where it stopped"
            ) from error


def _write_lists(target: Path, *, drops: list[dict], notes: list[str], manifest: list[dict]) -> None:
    for file, entries in ((DROPS_FILE, drops), (NOTES_FILE, notes)):
        (target / file).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    with (target / MANIFEST_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MANIFEST_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(manifest, key=lambda line: line["row"]))


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
