"""Output of several processes as one: each line with the number of its process, progress bars of the first only."""

import io
import threading
from collections.abc import Callable
from typing import TextIO


def relay(
    source: io.BufferedReader,
    target: TextIO,
    *,
    process: int,
    lock: threading.Lock,
    muted: Callable[[], bool] = lambda: False,
) -> None:
    r"""Copies a process's stream until it ends, "[process] " before each line.

    A state of a progress bar ends with "\r"; what has no end at the end of the stream is a line.

    Args:
      source: standard output or error of the process.
      target: ours.
      process: its number. The bars of others than 0 are dropped: they would overwrite each other.
      lock: one for all streams, so that lines stay whole.
      muted: whether what comes is dropped.
    """
    for line in io.TextIOWrapper(source, encoding="utf-8", errors="replace", newline=""):
        text, end = line.rstrip("\r\n"), "\r" if line.endswith("\r") else "\n"
        if muted() or (end == "\r" and (process != 0 or not text)):
            continue
        with lock:
            try:
                target.write(f"[{process}] {text}{end}")
                target.flush()
            except (OSError, ValueError):
                # Nobody reads us any more; the process must still be able to write.
                continue
