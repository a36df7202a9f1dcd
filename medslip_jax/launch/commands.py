"""Other programs: printing their commands, running them, reading what they say. Never through a shell."""

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.storage.files import replacing_file


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


def write(text: str, file: str) -> None:
    """Writes a script or manifest and says so."""
    with replacing_file(file) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    say(f"written: {file}")
