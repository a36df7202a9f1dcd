"""Several processes that belong together: started as one, signalled as one, and none outlives the others' failure."""

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from medslip_jax.exit_codes import DONE, PREEMPTED
from medslip_jax.interrupts import QUIET, handled
from medslip_jax.launch.commands import say
from medslip_jax.launch.output import relay


@dataclasses.dataclass(frozen=True)
class Ended:
    """How they ended.

    Attributes:
      code: 0 if all did their work, PREEMPTED if the only other ends were that, otherwise the first failure's code
        (128 + n for one that signal n killed).
      asked: the signal that we were sent, and passed on; 0 for none.
    """

    code: int
    asked: int


def run_together(
    commands: Sequence[Sequence[str]], *, environments: Sequence[Mapping[str, str]] | None = None, grace: float = 60.0
) -> Ended:
    """Runs the commands at the same time until all have ended.

    SIGINT and SIGTERM are passed on to all, and waited for; a second one kills them. What they write after SIGINT is
    dropped. When one process ends with another code than 0, the others have `grace` seconds to follow (a saved
    checkpoint needs all of them).

    Args:
      commands: one a process.
      environments: variables on top of ours, one mapping a process.
      grace: seconds.
    """
    environments = environments or [{}] * len(commands)
    children: list[subprocess.Popen] = []
    with _passing_on_signals(children) as asked:
        for command, environment in zip(commands, environments, strict=True):
            children.append(_start(command, environment))
        readers = _relay_all(children, asked)
        codes = _wait_for_all(children, grace=grace, asked=asked)
    for child in children:
        _kill(child)  # helpers that a process left behind hold its output open
    for reader in readers:
        reader.join(timeout=5)
    return Ended(code=_verdict(codes), asked=asked[0] if asked else 0)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    # A session of its own: Ctrl-C in a terminal would otherwise reach it a second time, past us.
    return subprocess.Popen(
        command,
        env={**os.environ, QUIET: "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _relay_all(children: Sequence[subprocess.Popen], asked: Sequence[int]) -> list[threading.Thread]:
    options = {
        "lock": threading.Lock(),
        # Whoever goes last finds the others gone, and JAX's coordination service says so in pages.
        "muted": lambda: signal.SIGINT in asked,
    }
    readers = [
        threading.Thread(target=relay, args=(source, target), kwargs={"process": i, **options}, daemon=True)
        for i, child in enumerate(children)
        for source, target in ((child.stdout, sys.stdout), (child.stderr, sys.stderr))
    ]
    for reader in readers:
        reader.start()
    return readers


@contextlib.contextmanager
def _passing_on_signals(children: Sequence[subprocess.Popen]) -> Iterator[list[int]]:
    """The list of signals that came so far."""
    asked: list[int] = []

    def pass_on(number, _frame):
        again = bool(asked)
        asked.append(number)
        for child in children:
            if again:
                _kill(child)
            else:
                child.send_signal(number)

    with handled(signal.SIGINT, signal.SIGTERM, by=pass_on):
        yield asked


def _wait_for_all(children: Sequence[subprocess.Popen], *, grace: float, asked: Sequence[int]) -> list[int]:
    """Exit codes in the order in which the processes ended; those that we had to kill last are left out.

    Nothing is said of ends that a signal `asked` for.
    """
    ends: queue.SimpleQueue = queue.SimpleQueue()
    for i, child in enumerate(children):
        threading.Thread(target=lambda i=i, child=child: ends.put((i, child.wait())), daemon=True).start()
    codes, until = [], None
    for running in range(len(children), 0, -1):
        try:
            process, code = ends.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            say(f"{running} process(es) did not end in {grace:g} s after the first failure: killed")
            for child in children:
                _kill(child)
            break
        codes.append(code)
        if code != DONE and until is None and running > 1:
            if not asked:
                say(f"process {process} ended with {_as_shells_say(code)}; the others have {grace:g} s to follow")
            until = time.monotonic() + grace
    return codes


def _verdict(codes: Sequence[int]) -> int:
    """One exit code for all, from theirs in the order of their ends."""
    bad = [_as_shells_say(code) for code in codes if code != DONE]
    return next((code for code in bad if code != PREEMPTED), bad[0] if bad else DONE)


def _as_shells_say(code: int) -> int:
    return code if code >= 0 else 128 - code


def _kill(child: subprocess.Popen) -> None:
    """The process and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
