"""A thread that ends a process which has stopped getting on: a hung collective, a dead file system, a lost host."""

import faulthandler
import os
import sys
import threading
import time

from medslip_jax.exit_codes import STUCK


class Watchdog:
    """Prints the stacks of all threads and ends the process with `exit_codes.STUCK` if nobody calls `beat` in time.

    Use as a context manager. Nothing is saved: what the process holds may be what is broken, and the last checkpoint
    is good.

    Args:
      seconds: allowed between two beats; 0 switches it off.
      who: names the process in the message.
    """

    def __init__(self, seconds: float, *, who: str = "medslip"):
        self._seconds, self._who = seconds, who
        self._last, self._doing = time.monotonic(), "starting"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        if self._seconds > 0:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()

    def beat(self, doing: str) -> None:
        """The run gets on; `doing` is what the message names if this was the last beat."""
        self._last, self._doing = time.monotonic(), doing

    def _watch(self) -> None:
        while not self._ended.wait(min(self._seconds / 10, 5)):
            quiet = time.monotonic() - self._last
            if quiet > self._seconds:
                print(
                    f"{self._who}: nothing finished for {quiet:.0f} s (limit {self._seconds:g} s, "
                    f"--config.watchdog_minutes) while {self._doing}; stacks of all threads follow, then the process "
                    "ends; the same command goes on from the last checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                os._exit(STUCK)
