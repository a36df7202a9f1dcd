"""`medslip data build NAME --out DIR`: makes a data set that `pretrain` and `evaluate` read."""

import argparse
import dataclasses
from pathlib import Path

from data_pipelines.datasets import BUILDERS
from data_pipelines.datasets.build import DROPS_FILE, NOTES_FILE, build
from data_pipelines.datasets.folder_options import POLICIES, FolderOptions, read_options
from data_pipelines.datasets.phantom import PhantomOptions
from medslip_jax.errors import InputError


def main(argv: list[str]) -> int:
    """Runs the verb; returns the exit code 0. Bad input raises `InputError`."""
    flags = _parser().parse_args(argv)
    arguments = {"phantom": _phantom, "folder": _folder}[flags.name](flags)
    report = build(flags.name, out=flags.out, existing="overwrite" if flags.overwrite else "refuse", **arguments)
    counts = ", ".join(f"{split} {count}" for split, count in report["splits"].items())
    print(f"{report['directory']}: {counts}")
    for line in drop_summary(report["drops"], directory=report["directory"]):
        print(line)
    for line in note_summary(report["notes"], directory=report["directory"]):
        print(line)
    return 0


def drop_summary(drops: list[dict], *, directory: str) -> list[str]:
    """Lines for the user: how many rows were left out and the first five, [] for none."""
    if not drops:
        return []
    shown = [f"  row {drop['row']} {drop['file']}: {drop['reason']}" for drop in drops[:5]]
    return [f"left out {len(drops)} rows, all listed in {Path(directory) / DROPS_FILE}", *shown]


def note_summary(notes: list[str], *, directory: str) -> list[str]:
    """Lines for the user: the first five notes and how many there are beyond them, [] for none."""
    more = [f"note: {len(notes) - 5} more in {Path(directory) / NOTES_FILE}"] if len(notes) > 5 else []
    return [*(f"note: {note}" for note in notes[:5]), *more]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medslip data", description=__doc__, allow_abbrev=False)
    parser.add_argument("action", choices=["build"])
    parser.add_argument("name", choices=list(BUILDERS))
    parser.add_argument("--out", required=True, type=Path, help="data directory; the data set goes to OUT/NAME")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT/NAME if it exists")
    parser.add_argument("--options", type=Path, help="JSON file of the data set's options")
    parser.add_argument("--size", type=int, help="short side of the stored images in pixels (256)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--root", type=Path, help="folder: directory of the CSV file and the images")
    parser.add_argument("--policy", choices=POLICIES, help="folder: what to do with an unreadable image (fail)")
    for split in ("train", "validation", "test"):
        parser.add_argument(f"--{split}", type=int, help=f"phantom: how many {split} examples")
    return parser


def _phantom(flags: argparse.Namespace) -> dict:
    _refuse(flags, ("root", "policy"))
    given = {key: getattr(flags, key) for key in ("size", "train", "validation", "test")}
    return {"options": _options(PhantomOptions, flags, given | {"workers": flags.workers})}


def _folder(flags: argparse.Namespace) -> dict:
    _refuse(flags, ("train", "validation", "test"))
    if flags.root is None:
        raise InputError("--root: the folder data set needs the directory of the CSV file and the images")
    options = _options(FolderOptions, flags, {"size": flags.size})
    return {
        "root": flags.root,
        "options": options,
        "policy": flags.policy or "fail",
        "workers": flags.workers,
    }


def _options(cls: type, flags: argparse.Namespace, given: dict):
    """The options class from the JSON file, with the flags that were given on top."""
    options = read_options(flags.options) if flags.options else {}
    unknown = sorted(set(options) - {field.name for field in dataclasses.fields(cls)})
    if unknown:
        raise InputError(f"{flags.options}: unknown option {unknown[0]!r} of {flags.name}")
    try:
        return cls(**(options | {key: value for key, value in given.items() if value is not None}))
    except InputError as error:
        raise InputError(f"{flags.options}: {error}") if flags.options else error from error


def _refuse(flags: argparse.Namespace, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(flags, name) is not None:
            raise InputError(f"--{name}: not a flag of the {flags.name} data set")
