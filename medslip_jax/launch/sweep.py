"""Variants of one experiment, each pre-trained and evaluated in processes of its own, one after another."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from medslip_jax.checkpoints import find_checkpoint, find_latest, read_config
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


def sweep(
    config: str,
    workdir: str | Path,
    *,
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    resamples: int = 1000,
) -> dict:
    """Trains and evaluates what is not done yet, and compares the variants with the first one.

    Args:
      config: FILE[:arg]; the file has VARIANTS, {name: {key: value}}, and its `get_config` takes `variant=NAME`.
      workdir: a directory a variant goes below it, beside table.txt and sweep.json, which show all that have results.
      only: names of the variants to run; all by default.
      overrides: "--config.KEY=VALUE" of all of them.
      resamples: of the patient-level bootstrap.

    Returns:
      {"table": text, "failed": names of those whose command failed; the others are still run}.

    Raises:
      InputError: no variants, an unknown name, a directory that holds a run of other settings.
      KeyboardInterrupt: a command was asked to stop; the same call goes on.
    """
    if resamples < 1:  # read when the first variant has been trained
        raise InputError(f"--resamples {resamples}: must be at least 1")
    workdir = Path(workdir)
    found = variants(config, workdir=workdir)
    unknown = sorted(set(only) - {v.name for v in found})
    if unknown:
        raise InputError(f"--only: no variant {unknown[0]!r}; {config} has: {', '.join(v.name for v in found)}")
    wanted = [v for v in found if v.name in only or not only]
    failed = [v.name for v in wanted if not run(v, overrides=overrides, resamples=resamples)]
    return {"table": write_table(found, workdir=workdir, resamples=resamples), "failed": failed}


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
    text = sweep_table(rows, missing=[v.name for v in found if v not in done])
    write_bytes(workdir / "table.txt", f"{text}\n".encode())
    write_bytes(workdir / "sweep.json", json.dumps(rows, indent=1, allow_nan=False).encode())
    return text
