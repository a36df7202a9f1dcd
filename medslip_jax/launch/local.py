"""`medslip launch local`: real processes on this machine, connected as on a pod; each line of output names its process.

Signals reach all processes, and `--retries` starts all of them again when one was preempted, stuck or killed.
"""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence

from medslip_jax.errors import InputError
from medslip_jax.exit_codes import DONE, worth_another_run
from medslip_jax.launch.arguments import check_at_least
from medslip_jax.launch.commands import say, shown
from medslip_jax.launch.processes import run_together

HELP = "several processes on this machine"
EXAMPLE = "medslip launch local --processes 2 -- pretrain --config configs/phantom.py --workdir runs/a"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=int, required=True, help="how many")
    devices = parser.add_mutually_exclusive_group()
    devices.add_argument("--devices_per_process", type=int, help="CPU devices of each process (JAX_NUM_CPU_DEVICES)")
    devices.add_argument("--gpus_per_process", type=int, help="GPUs of each process: the first G are process 0's")
    parser.add_argument("--retries", type=int, default=0, help="start all again after 75, 70 or a kill (%(default)s)")
    parser.add_argument("--grace", type=float, default=60.0, help="seconds to follow a failed process (%(default)g)")


def launch(flags: argparse.Namespace, command: Sequence[str]) -> int:
    """Runs the processes; the code of the first failure, PREEMPTED if all were that, or 0."""
    check_at_least(flags, processes=1, devices_per_process=1, gpus_per_process=1, retries=0, grace=0)
    environments = [environment_of(i, flags) for i in range(flags.processes)]
    if flags.dry_run:
        for line, environment in zip(commands_of(flags, command), environments, strict=True):
            print(shown(line, environment))
        return DONE
    for left in range(flags.retries, -1, -1):
        ended = run_together(commands_of(flags, command), environments=environments, grace=flags.grace)
        if ended.asked == signal.SIGINT and ended.code != DONE:
            raise KeyboardInterrupt
        # Who stops us wants us to stop, and gets to know that the training was saved.
        if ended.asked or not left or not worth_another_run(ended.code):
            break
        say(f"ended with {ended.code}: starting all again, {left} of {flags.retries} retries left")
    return ended.code


def commands_of(flags: argparse.Namespace, command: Sequence[str]) -> list[list[str]]:
    """A command line for each process, with a port of its own for the meeting."""
    line = [sys.executable, "-m", "medslip_jax.cli.main", *command]
    if flags.processes == 1:
        return [[*line, "--distributed", "off"]]
    meet = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", str(flags.processes)]
    return [[*line, *meet, "--process_id", str(i)] for i in range(flags.processes)]


def environment_of(process: int, flags: argparse.Namespace) -> dict[str, str]:
    """Variables on top of ours."""
    variables = {"PYTHONUNBUFFERED": "1"}
    if flags.devices_per_process:
        variables |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(flags.devices_per_process)}
    if flags.gpus_per_process:
        variables["CUDA_VISIBLE_DEVICES"] = _share_of_gpus(process, flags)
    return variables


def _share_of_gpus(process: int, flags: argparse.Namespace) -> str:
    """Of those that we may see ourselves, or of 0, 1, 2 ..."""
    first, count = process * flags.gpus_per_process, flags.gpus_per_process
    everything = ",".join(map(str, range(flags.processes * count)))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", everything)
    known = visible.split(",") if visible else []  # set to nothing, it hides all of them
    if len(known) < flags.processes * count:
        raise InputError(f"--gpus_per_process {count}: CUDA_VISIBLE_DEVICES={visible!r} has too few for --processes")
    return ",".join(known[first : first + count])


def free_port() -> int:
    """A port that nobody listens at, for the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
