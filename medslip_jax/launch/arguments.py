"""What all targets check alike: the command after `--`, and the names and numbers of the flags before it."""

import argparse
import re
from collections.abc import Sequence

from medslip_jax.errors import InputError

VERBS = ("pretrain", "finetune")
_ADDED_HERE = ("--distributed", "--coordinator", "--processes", "--process_id")
_EXAMPLE = "-- pretrain --config FILE --workdir DIR"


def split(argv: Sequence[str]) -> dict[str, list[str]]:
    """{"flags": before the first `--`, "command": after it}.

    >>> split(["local", "--processes", "2", "--", "pretrain", "--config", "a.py"])
    {'flags': ['local', '--processes', '2'], 'command': ['pretrain', '--config', 'a.py']}
    """
    argv = list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    return {"flags": argv[:cut], "command": argv[cut + 1 :]}


def check_command(command: Sequence[str]) -> None:
    """`InputError` unless `command` is a training verb with a --config and a --workdir, and leaves us our flags."""
    if not command:
        raise InputError(f"the command to launch is missing: end with {_EXAMPLE}")
    if command[0] not in VERBS:
        raise InputError(f"-- {command[0]}: what can be launched is {' or '.join(VERBS)}")
    for flag in ("--config", "--workdir"):
        if not value_of(command, flag):
            raise InputError(f"{flag} is missing after --: end with {_EXAMPLE}")
    for flag in _ADDED_HERE:
        if value_of(command, flag):
            raise InputError(f"{flag} after --: leave it out, launch adds it")
    if "--dry_run" in command:
        raise InputError("--dry_run after --: put it before, where it keeps launch from doing anything")


def value_of(command: Sequence[str], flag: str) -> str:
    """What the command gives for `flag`, as "--flag VALUE" or "--flag=VALUE"; the last wins; "" without it."""
    found = ""
    for i, word in enumerate(command):
        if word == flag and i + 1 < len(command):
            found = command[i + 1]
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found


def with_value(command: Sequence[str], flag: str, value: str) -> list[str]:
    """The command with another value for each `flag` in it."""
    changed, previous = [], ""
    for word in command:
        if previous == flag:
            changed.append(value)
        else:
            changed.append(f"{flag}={value}" if word.startswith(f"{flag}=") else word)
        previous = word
    return changed


def check_lasting_workdir(command: Sequence[str], *, where: str) -> None:
    """`InputError` for a --workdir that is not absolute: it would lie on a disk that goes with the machine."""
    workdir = value_of(command, "--workdir")
    if not workdir.startswith("/"):
        raise InputError(
            f"--workdir {workdir}: {where} lose their own disks; give the absolute path of a mount (docs/pods.md)"
        )


def check_name(name: str, *, flag: str = "--name", longest: int = 63) -> None:
    """`InputError` unless `name` is what Google Cloud and Kubernetes accept."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > longest:
        raise InputError(
            f"{flag} {name}: give up to {longest} lower-case letters, digits and dashes, a letter first, no dash last"
        )


def check_at_least(flags: argparse.Namespace, **least: float) -> None:
    """`InputError` naming the first flag whose value is below its least; flags that are not given pass."""
    for name, bound in least.items():
        value = getattr(flags, name)
        if value is not None and value < bound:
            raise InputError(f"--{name} {value}: give {bound} or more")
