"""`medslip launch tpu`: training on a Cloud TPU pod through gcloud, started again when the pod is taken away.

Asks for a queued resource, waits until it is ACTIVE, installs the package on all hosts, runs the command on all of
them, and deletes the pod at the end. With a name that is there already, it goes on with that pod.
"""

import argparse
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from medslip_jax.errors import InputError
from medslip_jax.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED, PREEMPTED, worth_another_run
from medslip_jax.interrupts import handled
from medslip_jax.launch import commands, pods
from medslip_jax.launch.arguments import check_at_least, check_lasting_workdir, check_name, value_of, with_value
from medslip_jax.launch.commands import say, shown
from medslip_jax.launch.gcloud import Pod
from medslip_jax.launch.topology import runtime_of

HELP = "a Cloud TPU pod through gcloud"
EXAMPLE = (
    "medslip launch tpu --name chest --zone us-west4-a --type v5litepod-16 "
    "--install dist/medslip_jax-*.whl "
    "-- pretrain --config configs/pretrain_mimic.py --workdir /mnt/films/runs/a"
)
WORKER = Path(__file__).with_name("medslip_worker.sh")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="of the pod; the same name later goes on with the same pod")
    parser.add_argument("--zone", required=True, help="such as us-west4-a")
    parser.add_argument("--type", required=True, help="accelerator type, such as v5litepod-16")
    parser.add_argument("--install", required=True, help="what all hosts install: a wheel, gs://...whl, or a pip spec")
    parser.add_argument("--constraints", metavar="FILE", help="versions to install, such as constraints/python3.12.txt")
    parser.add_argument("--setup", help="shell command for all hosts before the training, such as one that copies data")
    parser.add_argument("--project", default="", help="Google Cloud project (gcloud's own setting)")
    parser.add_argument("--spot", action="store_true", help="cheaper, and can be taken away at any time")
    parser.add_argument("--version", help="runtime version (the usual one of the type)")
    parser.add_argument("--retries", type=int, default=20, help="new runs after a preemption or a hang (%(default)s)")
    parser.add_argument("--queue_minutes", type=float, default=1440, help="longest wait for the pod (%(default)s)")
    parser.add_argument("--poll_seconds", type=float, default=30, help="between looks at its state (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the pod in place at the end; it costs money")


def launch(flags: argparse.Namespace, command: Sequence[str]) -> int:
    """Runs the training; its exit code, PREEMPTED if the retries ran out, FAILED if no pod could be had."""
    check_name(flags.name)
    check_at_least(flags, retries=0, queue_minutes=0, poll_seconds=0)
    check_lasting_workdir(command, where="pods")
    capacity: Literal["spot", "on_demand"] = "spot" if flags.spot else "on_demand"
    version = flags.version or runtime_of(flags.type)
    pod = Pod(flags.name, flags.zone, flags.type, version, project=flags.project, capacity=capacity)
    steps = steps_of(pod, command, install=flags.install, constraints=flags.constraints, setup=flags.setup)
    check_config(command)
    if flags.dry_run:
        for line in [pod.create(), *steps, *([] if flags.keep else [pod.delete()])]:
            print(shown(line))
        return DONE
    commands.need("gcloud", hint="install the Google Cloud CLI")
    try:
        # A `kill` of the launcher must not leave a pod behind in silence.
        with handled(signal.SIGTERM, by=signal.default_int_handler):
            code = _train(pod, steps, retries=flags.retries, poll=flags.poll_seconds, timeout=60 * flags.queue_minutes)
            if flags.keep:
                say(f"kept, and costs money until: {shown(pod.delete())}")
            else:
                pods.give_back(pod, poll=flags.poll_seconds)
    except KeyboardInterrupt:
        _tell_what_runs(pod)
        return INTERRUPTED
    return code


def steps_of(
    pod: Pod, command: Sequence[str], *, install: str, constraints: str | None = None, setup: str | None = None
) -> list[list[str]]:
    """The commands that bring a training to an active pod and run it; each can be run again at any time.

    Raises:
      InputError: the config, the wheel or the constraints file is not here.
    """
    config, colon, argument = value_of(command, "--config").partition(":")
    files = {"--config": config}
    if install.endswith(".whl") and "://" not in install:
        files["--install"] = install
        install = f"./{Path(install).name}[tpu]"
    if constraints is not None:
        files["--constraints"] = constraints
    for flag, file in files.items():
        if not Path(file).is_file():
            raise InputError(f"{flag} {file}: no such file; it is copied to all hosts from here")
    # Files arrive in the home directory, where the commands run.
    training = with_value(command, "--config", f"{Path(config).name}{colon}{argument}")
    worker = ["bash", WORKER.name]
    return [
        pod.copy([str(WORKER), *files.values()]),
        pod.ssh([*worker, "install", install, *([Path(constraints).name] if constraints else [])]),
        *([pod.ssh([*worker, "setup", setup])] if setup else []),
        pod.ssh([*worker, "run", *training, "--distributed", "tpu"]),
    ]


def check_config(command: Sequence[str]) -> None:
    """Before a pod is paid for: the config's file, alone as it will be on the hosts, takes the command's settings.

    Raises:
      InputError: what the hosts would say.
    """
    from medslip_jax.experiment import load_config

    file, colon, argument = value_of(command, "--config").partition(":")
    keys = [i for i, word in enumerate(command) if word.startswith("--config.")]
    settings = [word for i in keys for word in command[i : i + (1 if "=" in command[i] else 2)]]
    with tempfile.TemporaryDirectory() as folder:
        alone = shutil.copy(file, folder)
        try:
            load_config([f"--config={alone}{colon}{argument}", *settings])
        except InputError as error:
            said = str(error).replace(str(alone), file).replace(folder, str(Path(file).parent))
            raise InputError(f"{said} (nothing was asked for; hosts get this file alone)") from error


def _train(pod: Pod, steps: Sequence[Sequence[str]], *, retries: int, poll: float, timeout: float) -> int:
    """Gets the pod and runs the steps, again and again while that may help."""
    pods.check_access(pod)
    code = FAILED
    for left in range(retries, -1, -1):
        state = pods.acquire(pod, poll=poll, timeout=timeout)
        if state in pods.WAITING:
            say(f"{pod.name} is still {state}: given up; a longer --queue_minutes waits longer")
            return FAILED
        if state == pods.REFUSED and left == retries:
            raise InputError(f"--name {pod.name}: gcloud refused the request, see its message above; nothing was made")
        lost, reason = state != pods.ACTIVE, f"{pod.name} could not be had: {state}"
        if not lost:
            code = _first_failure(steps)
            if code in (DONE, BAD_INPUT):
                return code
            time.sleep(poll)  # the state lags behind the machines
            lost = not pods.is_ours(pod, poll=poll)
            if not lost and not worth_another_run(code):
                return code
            reason = f"{pod.name} was taken away" if lost else f"the training ended with {code}"
        code = PREEMPTED if lost else code
        if left:
            say(f"{reason}: running the same command again, {left} of {retries} retries left")
            if lost and state != pods.REFUSED:
                pods.give_back(pod, poll=poll)
            time.sleep(poll)
    say(f"{reason}: no retries left; the same command goes on from the last checkpoint")
    return code


def _first_failure(steps: Sequence[Sequence[str]]) -> int:
    for step in steps:
        if code := commands.run(step):
            return code
    return DONE


def _tell_what_runs(pod: Pod) -> None:
    stop = pod.ssh(["bash", WORKER.name, "stop"])
    say(f"stopped watching. Nothing was deleted: if {pod.name} exists, it costs money, and a training on it goes on.")
    say("the same launch command follows it again")
    say(f"save and stop the training: {shown(stop)}")
    say(f"delete the pod: {shown(pod.delete())}")
