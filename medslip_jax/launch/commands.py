"""Other programs: printing their commands, running them, reading what they say. Never through a shell."""

import argparse
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from medslip_jax.errors import InputError
from medslip_jax.exit_codes import DONE
from medslip_jax.storage.files import replacing_file

HowFar = Literal["show", "write", "submit"]


def shown(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """The command as one line that a shell would read back to the same words.

    >>> shown(["echo", "two words"], {"A": "1 2"})
    "env 'A=1 2' echo 'two words'"
    """
    words = [f"{key}={value}" for key, value in (environment or {}).items()]
    return shlex.join([*(["env", *words] if words else []), *command])


def say(text: str) -> None:
    """A line of ours among the output of what runs."""
    print(f"medslip launch: {text}", flush=True)


def need(program: str, *, hint: str) -> None:
    """`InputError` if the program is not on PATH."""
    if shutil.which(program) is None:
        raise InputError(f"{program} is not on PATH: {hint}, or look at the commands with --dry_run")


def run(command: Sequence[str]) -> int:
    """Shows the command, runs it with our own output, and returns its exit code."""
    print(f"+ {shown(command)}", flush=True)
    return subprocess.run(command, check=False).returncode


def output_of(command: Sequence[str]) -> str | None:
    """What the command prints; None if it failed (its own message has been seen, on standard error)."""
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    return result.stdout if result.returncode == 0 else None


def how_far(flags: argparse.Namespace, submitting: str) -> HowFar:
    """What the flags --dry_run and, by its name, --apply or --submit ask for."""
    return "show" if flags.dry_run else "submit" if getattr(flags, submitting) else "write"


def hand_over(text: str, file: str, submit: Sequence[str], *, how: HowFar, hint: str) -> int:
    """Shows a script or manifest, or writes it, or also submits it; the exit code.

    Args:
      text: of the file.
      file: to write.
      submit: the command that submits it.
      how: how far to go.
      hint: for those who do not have the program that submits.
    """
    if how == "show":
        # The command as a comment, so that the whole output is still a script or manifest.
        print(f"{text}# {shown(submit)}")
        return DONE
    if how == "submit":
        need(submit[0], hint=hint)
    with replacing_file(file) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    say(f"written: {file}")
    if how == "submit":
        return run(submit)
    print(shown(submit))
    return DONE
