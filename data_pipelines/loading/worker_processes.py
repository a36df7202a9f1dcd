"""What all worker processes of ours do: end with their parent, leave Ctrl-C to it, and need room in /dev/shm.

A parent that ends by SIGKILL or `os._exit` cleans nothing up. Its workers see that it is gone and end; with the last of
them ends Python's resource tracker, which first deletes the semaphores and shared memory that are still registered.
"""

import contextlib
import errno
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

from medslip_jax.errors import InputError

Result = TypeVar("Result")
SHARED_MEMORY = Path("/dev/shm")
_SEGMENTS = f"{SHARED_MEMORY}/psm_"  # of `multiprocessing.shared_memory`
_PATIENCE = 1.0  # seconds
_MORE_ROOM = "give the container more (docker run --shm-size=1g)"
_THREADS = "use threads in place of data workers (--config.data.workers=0 --config.data.threads=N)"


class NoSharedMemory(InputError):
    """/dev/shm is missing, cannot be written, or has too little room for worker processes."""


def usable_cores() -> int:
    """Cores that this process may use, as far as the system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def begin_worker(lifeline: connection.Connection | None = None) -> None:
    """Call it first in a worker: SIGINT is ignored from now on, and the process ends when its parent has ended.

    The terminal sends Ctrl-C to the parent too, which then tells its workers.

    Args:
      lifeline: reading end of a pipe; the process ends also when the parent closes the other end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, _end)
    parent, main = multiprocessing.parent_process(), threading.get_ident()
    if parent is None:
        raise RuntimeError("begin_worker is for a process that multiprocessing has started")
    ends: list[Any] = [parent.sentinel, *([lifeline] if lifeline else [])]

    def wait() -> None:
        connection.wait(ends)
        signal.pthread_kill(main, signal.SIGUSR1)
        time.sleep(_PATIENCE)
        os._exit(1)  # the main thread is deep in a library

    threading.Thread(target=wait, name="ends with the parent", daemon=True).start()


def _end(*_) -> None:
    """In the main thread: it may just have made shared memory that the resource tracker is yet to be told of."""
    with contextlib.suppress(OSError):  # a system without /proc
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # closed by now, or deleted
                file = descriptor.readlink()
                if str(file).startswith(_SEGMENTS):
                    file.unlink()
    os._exit(1)


def begin_grain_worker(worker_index: int, worker_count: int) -> None:
    """`begin_worker` of a loader's worker. It is here as this module is imported fast, before which nothing watches."""
    begin_worker()
    import cv2

    cv2.setNumThreads(0)


def undisturbed(function: Callable[..., Result], *args: object) -> Result:
    """function(*args), which starts processes, in a thread that Ctrl-C does not interrupt.

    The processes inherit that SIGINT is blocked, so none of them prints a traceback while it is still importing, nor
    is one left half-started. The caller gets the interrupt when the function has come back.
    """
    blocked = (signal.SIG_BLOCK, {signal.SIGINT})
    with ThreadPoolExecutor(1, initializer=signal.pthread_sigmask, initargs=blocked) as helper:
        return helper.submit(function, *args).result()


def require_shared_memory(size: int, *, instead: str = _THREADS) -> None:
    """Refuses to start workers that would die of it later.

    Args:
      size: bytes that they may have in /dev/shm at a time.
      instead: what to do without them.

    Raises:
      NoSharedMemory: it is missing, read-only or too full.
    """
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        raise no_shared_memory(error, instead=instead) from error
    # A size of 0 is a tmpfs without a limit; other systems than Linux have no such directory.
    room = os.statvfs(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    if room and room.f_blocks and room.f_bavail * room.f_frsize < size:
        raise NoSharedMemory(
            f"{SHARED_MEMORY}: {_room()} and the worker processes need {_mb(size)}; {instead}, or {_MORE_ROOM}"
        )


def no_shared_memory(error: OSError, *, instead: str = _THREADS) -> NoSharedMemory:
    """What to say of an error that came when a semaphore or a shared array was made."""
    if error.errno == errno.ENOSPC and SHARED_MEMORY.is_dir():
        return NoSharedMemory(
            f"{SHARED_MEMORY}: {_room()}, too little for worker processes; {instead}, or {_MORE_ROOM}"
        )
    reason = "not there" if error.errno == errno.ENOENT else error.strerror or str(error)
    return NoSharedMemory(
        f"{SHARED_MEMORY}: {reason}, and worker processes need it; {instead}, or mount a writable tmpfs there"
    )


def _room() -> str:
    room = os.statvfs(SHARED_MEMORY)
    return f"{_mb(room.f_bavail * room.f_frsize)} of {_mb(room.f_blocks * room.f_frsize)} are free"


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size < 1e7 else f"{size / 1e6:.0f} MB"


def explained(error: OSError | RuntimeError) -> InputError | None:
    """The one line for an error of grain's worker processes; None if it is of something else."""
    if isinstance(error, OSError):
        shared = error.errno == errno.ENOSPC or str(error.filename).startswith("/psm_")
        return no_shared_memory(error) if shared else None
    # grain has no type of its own for it.
    ended = re.match(r"Worker process was terminated unexpectedly with exit code (-?\d+)", str(error))
    if ended is None:
        return None
    code = int(ended[1])
    if code == -signal.SIGBUS:
        return NoSharedMemory(
            f"a data worker was killed by SIGBUS, as happens where {SHARED_MEMORY} becomes full (now {_room()}); "
            f"{_THREADS}, or {_MORE_ROOM}; the same command goes on from the last checkpoint"
        )
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    hint = ", as happens where memory runs out: use fewer data workers, or threads" if code == -signal.SIGKILL else ""
    return InputError(
        f"a data worker {how}{hint} (--config.data.workers, --config.data.threads); the same command goes on from the "
        "last checkpoint"
    )
