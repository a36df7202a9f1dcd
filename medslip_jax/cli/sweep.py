"""`medslip sweep --config FILE[:arg] --workdir DIR [--only A,B] [--config.x.y=value ...]`: variants of one experiment.

The config file has VARIANTS, {name: {key: value}}, and its `get_config` takes `variant=NAME`; the first is what the
others are compared with. Each is pre-trained and evaluated below DIR, in a process of its own. The same command goes on
where it was stopped: finished variants are kept. Writes DIR/table.txt and DIR/sweep.json.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from medslip_jax.checkpoints import find_checkpoint, find_latest, read_config
from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.errors import InputError
from medslip_jax.evaluation import compare
from medslip_jax.exit_codes import INTERRUPTED, PREEMPTED
from medslip_jax.experiment import differences, load_config, names_of, read, tree_of
from medslip_jax.interrupts import QUIET
from medslip_jax.report.tables.sweep import sweep_row, sweep_table
from medslip_jax.storage.files import tree_hash, write_bytes

RESULTS = "zero_shot"
_COMMAND = (sys.executable, "-m", "medslip_jax.cli.main")
# Filled in by a run.
_MEASURED = ("data.train_images", "books.sha256")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One run: `config` is the --config value that makes it, `changes` what VARIANTS says of it."""

    name: str
    config: str
    changes: dict
    directory: Path


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or 1 if a variant failed; the others are still run."""
    args, overrides = _parser().parse_known_args(argv)
    if args.resamples < 1:  # read when the first variant has been trained
        raise InputError(f"--resamples {args.resamples}: must be at least 1")
    found = variants(args.config, workdir=Path(args.workdir))
    wanted = args.only.split(",") if args.only else [v.name for v in found]
    unknown = sorted(set(wanted) - {v.name for v in found})
    if unknown:
        raise InputError(f"--only: no variant {unknown[0]!r}; {args.config} has: {', '.join(v.name for v in found)}")
    failed = [v.name for v in found if v.name in wanted and not run(v, overrides=overrides, resamples=args.resamples)]
    text = write_table(found, workdir=Path(args.workdir), resamples=args.resamples)
    print(f"\n{text}")
    if failed:
        print(f"failed: {', '.join(failed)}; the reason stands above, at the variant's own lines")
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "sweep",
        "medslip sweep --config configs/ablations.py --workdir runs/ablations --config.data.dir=data",
        description=__doc__,
    )
    parser.add_argument("--config", required=True, metavar="FILE[:arg]", help="such as configs/ablations.py")
    parser.add_argument("--workdir", required=True, help="one directory a variant, the table and its numbers")
    parser.add_argument("--only", metavar="A,B,...", help="variants to run now; the table shows all that are there")
    parser.add_argument("--resamples", type=int, default=1000, help="of the patient-level bootstrap (%(default)s)")
    return parser


def variants(config: str, *, workdir: Path) -> list[Variant]:
    """The runs of a config file, in its order.

    Raises:
      InputError: a file that cannot be read, or has no VARIANTS.
    """
    file, _, arg = config.partition(":")
    table = names_of(file).get("VARIANTS")
    if not isinstance(table, dict) or not table:
        raise InputError(f"--config {file}: has no VARIANTS; configs/ablations.py shows how they look")
    suffix = f",{arg}" if arg else ""
    return [Variant(name, f"{file}:variant={name}{suffix}", changes, workdir / name) for name, changes in table.items()]


def run(variant: Variant, *, overrides: Sequence[str], resamples: int) -> bool:
    """Trains and evaluates what is not done yet; False if one of the two commands failed.

    Raises:
      InputError: the variant's directory holds a run of other settings.
    """
    wanted = load_config([f"--config={variant.config}", *overrides])
    if _finished(variant.directory, wanted):
        print(f"{variant.name}: done before, kept")
        return True
    train = ["pretrain", "--config", variant.config, "--workdir", str(variant.directory), *overrides]
    judge = ["evaluate", "--checkpoint", str(variant.directory), "--out", str(variant.directory / RESULTS)]
    for command in (train, [*judge, "--resamples", str(resamples), "--pictures", "0"]):
        print(f"{variant.name}: medslip {' '.join(command)}", flush=True)
        code = _ended(command)
        if code in (INTERRUPTED, PREEMPTED, -signal.SIGINT, -signal.SIGTERM):
            # Asked to stop, and so is the sweep; the same command goes on.
            raise KeyboardInterrupt
        if code:
            return False
    return True


def _ended(command: Sequence[str]) -> int:
    """Exit code of a medslip command, to which signals are passed on: it ends as it does, and the sweep with it."""
    started: list[subprocess.Popen] = []
    asked: list[int] = []

    def pass_on(number: int, _frame) -> None:
        asked.append(number)
        for process in started:
            process.send_signal(number)

    # Who ignores SIGINT (nohup) has it ignored in the command, too.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    former = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        started.append(subprocess.Popen([*_COMMAND, *command], env=os.environ | {QUIET: "1"}))
        for number in asked[:1]:  # it came before there was anyone to pass it on to
            started[0].send_signal(number)
        return started[0].wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _finished(directory: Path, wanted) -> bool:
    """Whether the last checkpoint of these settings has been evaluated."""
    if find_latest(directory) is None:
        return False
    checkpoint = find_checkpoint(directory)
    saved = tree_of(read(read_config(checkpoint)))
    differing = [line for line in differences(saved, tree_of(read(wanted))) if not line.startswith(_MEASURED)]
    if differing:
        raise InputError(f"{directory}: holds a run of other settings ({differing[0]}); choose another --workdir")
    return results_of(directory).get("checkpoint", {}).get("sha256") == tree_hash(checkpoint / "model")


def results_of(directory: Path) -> dict:
    """What `medslip evaluate` wrote for a variant, {} if nothing."""
    file = directory / RESULTS / "metrics.json"
    try:
        return json.loads(file.read_bytes()) if file.is_file() else {}
    except ValueError as error:
        raise InputError(f"{file}: damaged ({error}); remove it and run the sweep again") from error


def write_table(found: Sequence[Variant], *, workdir: Path, resamples: int) -> str:
    """Writes sweep.json and table.txt of the variants that have results; returns the table."""
    done = [v for v in found if results_of(v.directory)]
    if not done:
        return "no variant has results yet"
    first = found[0].directory / RESULTS
    rows = {}
    for v in done:
        # The others are compared with the first, patient by patient.
        paired = v.name != found[0].name and found[0] in done
        other = compare(first, v.directory / RESULTS, resamples=resamples) if paired else None
        rows[v.name] = sweep_row(v.changes, results_of(v.directory), comparison=other)
    text = str(sweep_table(rows, missing=[v.name for v in found if v not in done]))
    write_bytes(workdir / "table.txt", f"{text}\n".encode())
    write_bytes(workdir / "sweep.json", json.dumps(rows, indent=1, allow_nan=False).encode())
    return text
