"""Runs a reader on damaged inputs in forked processes with limits, and says how each ended."""

import dataclasses
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from medslip_jax.errors import InputError

CPU_SECONDS, WALL_SECONDS = 5.0, 120.0
MEMORY = 1 << 30  # of resident memory that an input may need
_TOO_BIG = "took"
_ADDRESS_SPACE = 6 << 30  # beyond it, an allocation fails


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an input ended: "read", "refused" with a good message, or "fell", and what was said."""

    kind: str
    said: str = ""


def outcomes(read: Callable[[Path], object], inputs: Sequence[Mapping[str, bytes]], *, key: str) -> Iterator[Outcome]:
    """The outcome of each input, in order; a process that dies is replaced.

    Args:
      read: gets a directory with the files of an input.
      inputs: {relative path: bytes} each.
      key: pattern of what a message may name in place of a file.
    """
    done = 0
    while done < len(inputs):
        for outcome in _of_one_process(read, inputs[done:], key):
            done += 1
            yield outcome


def _of_one_process(
    read: Callable[[Path], object], inputs: Sequence[Mapping[str, bytes]], key: str
) -> Iterator[Outcome]:
    """Until the first input that kills the process, which has the last outcome."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
    ours, theirs = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _child(read, inputs, folder, theirs, key)
    os.close(theirs)
    told, ended = 0, ""
    with os.fdopen(ours, "rb") as pipe:
        while not ended and told < len(inputs):
            ready, _, _ = select.select([pipe], [], [], WALL_SECONDS)
            line = pipe.readline() if ready else b""
            if line:
                told += 1
                yield Outcome(**json.loads(line))
            elif not ready:
                os.kill(pid, signal.SIGKILL)
                ended = f"no answer for {WALL_SECONDS:g} s"
            else:
                ended = "died"
    _, status = os.waitpid(pid, 0)
    shutil.rmtree(folder, ignore_errors=True)
    if told < len(inputs) and status:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        slow = number == signal.SIGPROF
        yield Outcome("fell", f"more than {CPU_SECONDS:g} s" if slow else f"{ended}, signal {number}, status {status}")


def _child(
    read: Callable[[Path], object], inputs: Sequence[Mapping[str, bytes]], folder: Path, pipe: int, key: str
) -> None:
    """Never returns."""
    noise = os.open(folder / "noise", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(noise, stream)
    # pytest has streams of its own.
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(stream, "w", closefd=False)) for stream in (1, 2))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for number, files in enumerate(inputs):
        place = folder / str(number)
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        before = os.fstat(noise).st_size
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        outcome = _outcome(read, place, key)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stderr.flush()
        sys.stdout.flush()
        printed = os.pread(noise, 2000, before).decode(errors="replace")
        if printed and outcome.kind != "fell":
            outcome = Outcome("fell", f"printed: {printed}")
        os.write(pipe, json.dumps(dataclasses.asdict(outcome)).encode() + b"\n")
        shutil.rmtree(place, ignore_errors=True)
        if outcome.said.startswith(_TOO_BIG):  # the peak of this process hides those to come
            break
    os._exit(0)


def _outcome(read: Callable[[Path], object], place: Path, key: str) -> Outcome:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(place)
        outcome = Outcome("read")
    except InputError as error:
        said = str(error)
        plain = said.strip() and len(said.splitlines()) == 1 and len(said) < 2000
        named = re.search(key, said) or any(name in said for name in (str(place), *_names(place)))
        why = "" if plain and named else "names no file: " if plain else "not one line: "
        outcome = Outcome("fell" if why else "refused", why + said)
    except BaseException:
        out = io.StringIO()
        traceback.print_exc(file=out)
        outcome = Outcome("fell", out.getvalue())
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    return Outcome("fell", f"{_TOO_BIG} {grown >> 20} MB; {outcome.said}") if grown > MEMORY else outcome


def _names(place: Path) -> list[str]:
    return [path.name for path in place.rglob("*")]
