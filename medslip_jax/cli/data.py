"""`medslip data build | check | show`: data sets that `pretrain` and `evaluate` read.

medslip data check NAME --root DIR             is the official download complete?
medslip data build NAME --root DIR --out DIR   ArrayRecord files below OUT/NAME; a stopped build goes on
medslip data show DIR --out FILE.html          what is in a built data set
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.datasets import (
    BUILDERS,
    DROPS_FILE,
    NOTES_FILE,
    POLICIES,
    SPLITS,
    OfficialBuilder,
    build,
    builder_class,
    by_kind,
    check_download,
    finding_lines,
    options_of,
)
from data_pipelines.images import add_image_flags, given_image
from medslip_jax.cli.help_layout import help_layout
from medslip_jax.errors import InputError

_EXAMPLES = 2  # of each kind of drop
_EXAMPLES_OF = {
    "check": "medslip data check nih_cxr14 --root downloads/nih",
    "build": "medslip data build phantom --out data --train 8000 --validation 1000 --test 1000",
    "show": "medslip data show data/phantom --out phantom.html",
}


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or 1 if a check finds something amiss. Bad input raises `InputError`."""
    flags = _parser().parse_args(argv)
    return {"build": _build, "check": _check, "show": _show}[flags.action](flags)


def _build(flags: argparse.Namespace) -> int:
    report = build(
        flags.name,
        out=flags.out,
        existing="overwrite" if flags.overwrite else "refuse",
        workers=flags.workers,
        beam_options=_beam(flags),
        **_arguments(flags),
    )
    counts = ", ".join(f"{split} {count}" for split, count in report["splits"].items())
    print(f"{report['directory']}: {counts}")
    where = report["directory"]
    for line in (*drop_summary(report["drops"], directory=where), *note_summary(report["notes"], directory=where)):
        print(line)
    return 0


def _check(flags: argparse.Namespace) -> int:
    cls = builder_class(flags.name)
    if not issubclass(cls, OfficialBuilder):
        raise InputError(f"{flags.name}: has no official download to check")
    print(f"{flags.name} in {flags.root}; expected tree:\n{cls.tree()}\n")
    findings = check_download(flags.root, cls.expected(options_of(flags.name, file=flags.options, given={})))
    print("\n".join(finding_lines(findings)))
    return int(any(finding.state in ("missing", "differs") for finding in findings))


def _show(flags: argparse.Namespace) -> int:
    from medslip_jax.report.contents.page import write_page

    print(f"written: {write_page(flags.directory, flags.out)}")
    return 0


def drop_summary(drops: Sequence[dict], *, directory: str) -> list[str]:
    """Lines for the user: how many rows were left out, how many of each kind, examples; [] for none."""
    if not drops:
        return []
    lines = [f"left out {len(drops)} rows, all listed in {Path(directory) / DROPS_FILE}"]
    for kind, found in by_kind(drops):
        lines.append(f"  {len(found)} {kind}")
        lines += [f"    row {drop['row']} {drop['file']}: {drop['reason']}" for drop in found[:_EXAMPLES]]
    return lines


def note_summary(notes: Sequence[str], *, directory: str) -> list[str]:
    """Lines for the user: the first five notes and how many there are beyond them, [] for none."""
    more = [f"note: {len(notes) - 5} more in {Path(directory) / NOTES_FILE}"] if len(notes) > 5 else []
    return [*(f"note: {note}" for note in notes[:5]), *more]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("medslip data", **help_layout(*_EXAMPLES_OF.values(), description=__doc__))
    actions = parser.add_subparsers(dest="action", required=True, metavar="build | check | show")
    _build_parser(_action(actions, "build", "make a data set"))
    checks = _action(actions, "check", "compare a download with the official tree")
    checks.add_argument("name", choices=list(BUILDERS))
    checks.add_argument("--root", type=Path, required=True, help="directory of the download")
    checks.add_argument("--options", type=Path, metavar="FILE.json", help="options of the data set, such as its layout")
    shows = _action(actions, "show", "write a page on a built data set")
    shows.add_argument("directory", type=Path, help="OUT/NAME of a build, or a version below it")
    shows.add_argument("--out", type=Path, metavar="FILE.html", help="DIRECTORY/contents.html by default")
    return parser


def _action(actions, name: str, text: str) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=text, **help_layout(_EXAMPLES_OF[name], description=f"{text}."))


def _build_parser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", choices=list(BUILDERS))
    add("--out", required=True, type=Path, help="data directory; the data set goes to OUT/NAME")
    add("--root", type=Path, help="directory of the download, or of the CSV file and the images")
    add("--overwrite", action="store_true", help="replace OUT/NAME if it exists")
    add("--options", type=Path, metavar="FILE.json", help="options of the data set")
    add("--size", type=int, help="short side of the stored images in pixels (256)")
    add("--workers", type=int, default=2, help="processes (%(default)s)")
    add("--policy", choices=POLICIES, help="unreadable images: skip and list, or fail (folder: fail, others: skip)")
    add("--partial", action="store_true", help="accept a download whose counts are not the official ones")
    add("--beam_runner", help="encode on Apache Beam, such as DirectRunner (extra [beam])")
    add("--beam_option", action="append", default=[], metavar="OPTION", help="for the runner: =--KEY=VALUE; repeat")
    for split in SPLITS:
        add(f"--{split}", type=int, help=f"phantom: how many {split} examples")
    add_image_flags(parser, say='fields of the option "image", on top of --options')


def _beam(flags: argparse.Namespace) -> list[str]:
    if flags.beam_option and not flags.beam_runner:
        raise InputError("--beam_option: belongs to --beam_runner, which is not given")
    return [f"--runner={flags.beam_runner}", *flags.beam_option] if flags.beam_runner else []


def _arguments(flags: argparse.Namespace) -> dict:
    """What the data set's `plan` takes."""
    if flags.name == "phantom":
        _refuse(flags, ("root", "policy", "partial", *given_image(flags)))
        given = {split: getattr(flags, split) for split in SPLITS} | {"size": flags.size}
        return {"options": options_of(flags.name, file=flags.options, given=given)}
    _refuse(flags, SPLITS)
    if flags.name == "folder":
        _refuse(flags, ("partial",))
    if flags.root is None:
        raise InputError(f"--root: the {flags.name} data set needs the directory of its files")
    given = {"partial": flags.partial or None, "size": flags.size, "image": given_image(flags) or None}
    arguments = {"root": flags.root, "options": options_of(flags.name, file=flags.options, given=given)}
    return arguments | ({"policy": flags.policy} if flags.policy else {})


def _refuse(flags: argparse.Namespace, names: Sequence[str]) -> None:
    for name in names:
        if getattr(flags, name) is not None and getattr(flags, name) is not False:  # 0 was given
            raise InputError(f"--{name}: not a flag of the {flags.name} data set")
