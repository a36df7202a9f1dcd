"""`medslip doctor [--data_dir DIR] [--json]`: what is installed here, does it work, and what to do about it.

Ends with a numbered list of what is wrong, each with the next step. The exit code is 0 if nothing is, else 1. Asks no
other machine for anything.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.doctor.data import data, text_tables
from medslip_jax.doctor.devices import devices
from medslip_jax.doctor.findings import Section
from medslip_jax.doctor.machine import cache, machine
from medslip_jax.doctor.packages import extras, packages
from medslip_jax.exit_codes import DONE, FAILED

_DATA_DIR = "data"


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or 1 if something is wrong."""
    args = _parser().parse_args(argv)
    sections = examine(Path(args.data_dir or _DATA_DIR), asked_for=args.data_dir is not None)
    print(json.dumps(as_json(sections), indent=1) if args.json else as_text(sections))
    return FAILED if any(section.problems for section in sections) else DONE


def examine(data_dir: Path, *, asked_for: bool = True) -> list[Section]:
    """All parts of the report, see `doctor.data.data` for the arguments."""
    here = [packages(), machine(data_dir=data_dir), devices(), cache()]
    return [*here, data(data_dir, asked_for=asked_for), text_tables(), extras()]


def as_text(sections: Sequence[Section]) -> str:
    lines = [line for section in sections for line in (*section.lines(), "")]
    problems = [problem for section in sections for problem in section.problems]
    if not problems:
        return "\n".join([*lines, "nothing is wrong"])
    lines.append(f"{len(problems)} wrong:" if len(problems) > 1 else "one thing is wrong:")
    for number, problem in enumerate(problems, start=1):
        lines += [f"{number}. {problem.what}", f"   -> {problem.next_step}"]
    return "\n".join(lines)


def as_json(sections: Sequence[Section]) -> dict:
    """{"ok", "problems": [{"what", "next_step"}], section title: facts}."""
    problems = [{"what": p.what, "next_step": p.next_step} for section in sections for p in section.problems]
    return {"ok": not problems, "problems": problems} | {section.title: section.facts for section in sections}


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("doctor", "medslip doctor", "medslip doctor --data_dir data --json", description=__doc__)
    parser.add_argument("--data_dir", metavar="DIR", help=f"--out of medslip data build ({_DATA_DIR})")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the text")
    return parser
