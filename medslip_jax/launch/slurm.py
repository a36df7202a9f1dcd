"""`medslip launch slurm`: writes an sbatch script for GPUs, which puts itself back into the queue after a preemption.

`--submit` hands it to sbatch.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.exit_codes import INTERRUPTED, PREEMPTED, STUCK
from medslip_jax.launch import commands
from medslip_jax.launch.arguments import check_at_least, check_name

HELP = "an sbatch script for GPUs under Slurm"
EXAMPLE = (
    "medslip launch slurm --nodes 2 --gpus_per_node 4 --time 24:00:00 "
    "-- pretrain --config configs/pretrain_mimic.py:bf16 --workdir runs/a"
)
_OUT_OF_MEMORY = 253  # srun's
# Seconds after the end of the first task, also of one that is done; the training's own watchdog is faster for one
# that hangs.
_STRAGGLERS = 600

_JOB = Path(__file__).with_name("slurm_job.sh")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--gpus_per_node", type=int, required=True, help="one process each; 0: one a node, on its CPU")
    parser.add_argument("--time", required=True, help="limit of one run, such as 24:00:00; the rest follows by itself")
    parser.add_argument("--name", default="medslip", help="of the job (%(default)s)")
    parser.add_argument("--partition")
    parser.add_argument("--account")
    parser.add_argument("--cpus_per_task", type=int, help="cores of each process; its data workers need some")
    parser.add_argument("--retries", type=int, default=20, help="times that the job requeues itself (%(default)s)")
    parser.add_argument("--grace", type=int, default=120, help="seconds to save before the time is over (%(default)s)")
    parser.add_argument("--python", default=sys.executable, help="interpreter on the nodes (%(default)s)")
    parser.add_argument("--out", help="file to write (NAME.sbatch)")
    parser.add_argument("--submit", action="store_true", help="hand it to sbatch")


def launch(flags: argparse.Namespace, command: Sequence[str]) -> int:
    """Writes the script; with `--submit` the exit code is sbatch's."""
    _check(flags)
    text = script(flags, command)
    file = flags.out or f"{flags.name}.sbatch"
    how = commands.how_far(flags, "submit")
    return commands.hand_over(text, file, ["sbatch", file], how=how, hint="go to a login node of the cluster")


def script(flags: argparse.Namespace, command: Sequence[str]) -> str:
    """The text of the sbatch script.

    One process a GPU: that is what JAX makes of Slurm's variables by itself (process SLURM_PROCID of SLURM_NTASKS, with
    the one device SLURM_LOCALID). Each process must still see all GPUs of its node, so they are asked for by node;
    asked for by task, each would see one, and none but the first would find its number.
    """
    words = [flags.python, "-m", "medslip_jax.cli.main", *command, "--distributed", "slurm"]
    # srun no longer takes it from the job (Slurm 22.05 and later).
    cores = [f"--cpus-per-task={flags.cpus_per_task}"] if flags.cpus_per_task else []
    codes = {"preempted": PREEMPTED, "stuck": STUCK, "interrupted": INTERRUPTED, "out_of_memory": _OUT_OF_MEMORY}
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH --{directive}" for directive in _directives(flags)),
        "",
        "# shellcheck disable=SC2016 # a $ in your words stays one",
        f"training=({shlex.join(['srun', '--kill-on-bad-exit=0', f'--wait={_STRAGGLERS}', *cores, *words])})",
        " ".join(f"{name}={value}" for name, value in ({"retries": flags.retries} | codes).items()),
    ]
    return "\n".join([*lines, _JOB.read_text(encoding="utf-8")])


def _directives(flags: argparse.Namespace) -> list[str]:
    tasks = flags.gpus_per_node or 1
    lines = [f"job-name={flags.name}", f"nodes={flags.nodes}", f"ntasks-per-node={tasks}", f"time={flags.time}"]
    if flags.gpus_per_node:
        lines.append(f"gpus-per-node={flags.gpus_per_node}")
    lines += [f"{name}={getattr(flags, name)}" for name in ("partition", "account") if getattr(flags, name)]
    if flags.cpus_per_task:
        lines.append(f"cpus-per-task={flags.cpus_per_task}")
    # Without "B:" the signal goes to the tasks of srun and not to this script, which waits for them.
    return [*lines, "requeue", f"signal=TERM@{flags.grace}", "open-mode=append", f"output={flags.name}_%j.out"]


def _check(flags: argparse.Namespace) -> None:
    """`InputError` for what would break the script's #SBATCH lines, where nothing can be quoted."""
    check_name(flags.name)
    check_at_least(flags, nodes=1, gpus_per_node=0, cpus_per_task=1, retries=0, grace=1)
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", flags.time):
        raise InputError(f"--time {flags.time}: give MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS")
    for name in ("partition", "account"):
        if getattr(flags, name) and not re.fullmatch(r"[\w.,-]+", getattr(flags, name)):
            raise InputError(f"--{name} {getattr(flags, name)}: letters, digits, dot, dash and comma only")
