"""SIGTERM as a request: the run finishes its step, saves and ends with `exit_codes.PREEMPTED`."""

import signal
import threading

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Whether this run has been asked to end: by SIGTERM to this process, or to any process of the run.

    With several processes JAX's preemption service spreads the notice and has all of them see it at the same call, so
    every process must call `reached` equally often. (It installs its own signal handler in `jax.distributed`.)

    Use as a context manager, in the main thread; the signal's former handler is put back at the end.
    """

    def __init__(self):
        self._signalled = threading.Event()
        self._reached, self._calls, self._former = False, 0, None

    def __enter__(self) -> "StopRequest":
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            # While C++ compiles or computes, Python runs the handler only afterwards: nothing is cut short.
            self._former = signal.signal(signal.SIGTERM, lambda *_: self._signalled.set())
        return self

    def __exit__(self, *_) -> None:
        if self._former is not None:
            signal.signal(signal.SIGTERM, self._former)

    def reached(self) -> bool:
        """Once true, always true."""
        if not self._reached:
            self._calls += 1
            self._reached = self._signalled.is_set() or (
                jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(self._calls)
            )
        return self._reached
