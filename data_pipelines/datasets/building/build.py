"""Builds a data set beside its place, in parts that a later run finds again, and moves it there when it is complete."""

import contextlib
import csv
import dataclasses
import functools
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines.datasets.builders import builder_class
from data_pipelines.datasets.building import beam, work_directory
from data_pipelines.datasets.building.parts import Part, encode_parts, parts_of
from data_pipelines.datasets.building.plan import Plan
from data_pipelines.datasets.building.planned import PlannedBuilder
from data_pipelines.images import printable
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
    if work_directory.is_idle(final):
        _refuse(final, existing)
    if workers < 1:
        raise InputError(f"{name} workers={workers}: expected at least 1")
    encode = functools.partial(encode_parts, workers=workers, name=name)
    if beam_options:
        encode = functools.partial(beam.encode_parts_on_beam, pipeline=beam.pipeline_of(beam_options))
        arguments |= {key: Path(arguments[key]).absolute() for key in ("root",) if key in arguments}
    plan = cls.plan(**arguments)
    plan_id = _plan_id(plan, cls)
    with work_directory.work_directory(final) as work:
        if not work_directory.moved(work, final, plan_id=plan_id):
            _refuse(final, existing)
            parts = parts_of(plan, work_directory.start(work, plan_id))
            encode(plan, [part for split in parts.values() for part in split])
            _write_records(cls, plan, parts, work / work_directory.RECORDS)
            work_directory.move(work, final, plan_id=plan_id)
        work_directory.clear(work)
    return _report(final / str(cls.VERSION))


def _refuse(final: Path, existing: str) -> None:
    if final.exists() and existing != "overwrite":
        raise InputError(f"{final} exists; choose another --out or add --overwrite")


def _plan_id(plan: Plan, cls: type[PlannedBuilder]) -> str:
    """Differs where the records would, or the paths in what is said of them."""
    where = f"{plan.listing} {plan.listing.absolute()}"
    return hashlib.sha256(f"{plan.fingerprint()} {cls.VERSION} {where}".encode(errors="surrogateescape")).hexdigest()[
        :16
    ]


def _write_records(cls: type[PlannedBuilder], plan: Plan, parts: dict[str, list[Part]], directory: Path) -> None:
    builder = cls(plan=plan, parts=parts, data_dir=directory)
    _prepare(builder)
    drops = [dataclasses.asdict(drop) for drop in sorted(builder.drops, key=lambda drop: drop.row)]
    notes = list(map(printable, builder.notes + builder.image_notes))
    _write_lists(Path(builder.data_dir), drops=drops, notes=notes, manifest=builder.manifest)


def _report(directory: Path) -> dict:
    """What `build` returns, from the files."""
    drops, notes, info = (
        json.loads((directory / file).read_text(encoding="utf-8"))
        for file in (DROPS_FILE, NOTES_FILE, "dataset_info.json")
    )
    splits = {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]}
    return {"directory": str(directory), "splits": splits, "drops": drops, "notes": notes}


def _write_lists(target: Path, *, drops: list[dict], notes: list[str], manifest: list[dict]) -> None:
    lists: tuple[tuple[str, list], ...] = ((DROPS_FILE, drops), (NOTES_FILE, notes))
    for name, entries in lists:
        (target / name).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    with (target / MANIFEST_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MANIFEST_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {**line, "file": printable(line["file"])} for line in sorted(manifest, key=lambda one: one["row"])
        )


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
