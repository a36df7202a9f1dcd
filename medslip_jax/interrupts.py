"""Ctrl-C in the process of a verb: one line, exit code 130, nothing left behind, whatever the process is doing.

Python alone does not give that. `KeyboardInterrupt` is lost where it is raised inside a callback that C++ or the
garbage collector calls (JAX has one: `evaluate` and `pretrain` then went on), it waits for as long as C++ compiles, and
after it the interpreter takes down XLA's client under threads that still compute (segmentation fault).
"""

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from medslip_jax.exit_codes import INTERRUPTED

# What unwinds may close files and wait for a checkpoint's threads; after this many seconds, or a second Ctrl-C, the
# process ends as it is: temporary names make that safe.
GRACE_SECONDS = 10.0
# Of the same key press: a terminal and a parent (sweep) may both send it.
_ONE_PRESS_SECONDS = 1.0
# Set for the verbs that a verb starts: their parent says the line.
QUIET = "MEDSLIP_PARENT_SAYS_INTERRUPTED"
_CLEAN_UP_SECONDS = 3.0
_LOST = b"\0"


@contextlib.contextmanager
def handled(*numbers: int, by: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Signals of the main thread have another handler inside of it."""
    former = {number: signal.signal(number, by) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class CtrlC:
    """SIGINT of this process as a `KeyboardInterrupt` that is not lost, then exit code 130.

    Use as a context manager in the main thread around all that the process does. It does nothing where SIGINT is
    ignored (nohup) or has another handler, and while a verb has one of its own in place (launch, sweep).

    Attributes:
      came: whether SIGINT has come, so that an error is its consequence.
      begun: to be set when the verb begins; until then nothing has to be unwound, and the process may end at once.
    """

    def __init__(self):
        self.came = self.begun = False
        self._raised = self._over = False
        self._ending = threading.Lock()
        self._reader = self._writer = -1

    def __enter__(self) -> "CtrlC":
        main = threading.current_thread() is threading.main_thread()
        if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return self
        # What workers that are killed leave in /dev/shm, Python's resource tracker removes; it need not say so.
        quiet = "ignore:resource_tracker:UserWarning"
        os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), quiet]))
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.signal(signal.SIGINT, self._handle)
        # The C handler writes there at once, while Python's waits for the main thread to come back from C++.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self._forget)
        # Runs last: the verb has done its work, and Python, which gives SIGINT its default back, takes a second to go.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        self._hooks = sys.unraisablehook, threading.excepthook
        sys.unraisablehook, threading.excepthook = self._unraisable, self._failed_thread
        threading.Thread(target=self._watch, name="ctrl-c", daemon=True).start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Ends the process if SIGINT came and something was raised; otherwise the handler stays, for the exit."""
        if self.came and error is not None:
            self.end()
        self._over = True

    def end(self) -> None:
        """The line and exit code 130, at once and without the interpreter's own way out.

        That would destroy XLA's client while its threads still compute, and JAX has no call that stops them; what has
        to be removed was removed by the `finally` blocks on the way here, and the operating system takes the rest.
        """
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        self._end()

    def _end(self) -> None:
        """Also called by the watching thread, while the main thread may hold the locks of the streams."""
        self._ending.acquire()
        # In a thread, as it may meet a lock of a thread that will not go on.
        cleaner = threading.Thread(target=_clean_up, daemon=True)
        cleaner.start()
        cleaner.join(_CLEAN_UP_SECONDS)
        if QUIET not in os.environ:
            # The progress bar's line was not ended where nothing unwound.
            bar = b"\n" if os.isatty(2) and threading.current_thread() is not threading.main_thread() else b""
            with contextlib.suppress(OSError):
                os.write(2, bar + b"medslip: interrupted\n")
        os._exit(INTERRUPTED)

    def _handle(self, _number, frame) -> None:
        # An exception out of a C++ module's own start ends in `std::terminate` or a segmentation fault (jaxlib's).
        importing = _importing(frame)
        if self._over or (importing and not self.begun):
            self.end()
        self.came = True
        if importing:
            os.write(self._writer, _LOST)
        # A second one would interrupt what unwinds; `_watch` sees to it.
        elif not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        first, resent = 0.0, 0
        while True:
            left = max(0.0, first + GRACE_SECONDS - time.monotonic()) if first else None
            if not select.select([self._reader], [], [], left)[0]:
                if not self._over:
                    self._end()
                first = 0.0
                continue
            for number in os.read(self._reader, 64):
                if number == _LOST[0]:
                    time.sleep(0.01)  # until the callback that lost it is left, or the module is imported
                    self._raised, resent = False, resent + 1
                    # A signal and not `interrupt_main`, which leaves a wait in C as it is.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                elif number != signal.SIGINT or signal.getsignal(signal.SIGINT) != self._handle:
                    continue
                elif resent:
                    resent -= 1
                elif not first:
                    first = time.monotonic()
                elif time.monotonic() - first > _ONE_PRESS_SECONDS:
                    self._end()

    def _unraisable(self, what) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            os.write(self._writer, _LOST)
        elif not self.came:
            self._hooks[0](what)

    def _failed_thread(self, what) -> None:
        if not self.came:
            self._hooks[1](what)

    def _forget(self) -> None:
        """In a fork, whose SIGINT is not ours."""
        with contextlib.suppress(ValueError):  # not the main thread, which alone may do so
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _importing(frame) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _clean_up() -> None:
    """What would be left behind by `os._exit`: half-written files, processes, and semaphores in /dev/shm."""
    if "medslip_jax.storage.files" in sys.modules:
        sys.modules["medslip_jax.storage.files"].remove_unfinished()
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
        # What `atexit` would call; without it Python's resource tracker unlinks the semaphores, and says so.
        util = sys.modules.get("multiprocessing.util")
        getattr(util, "_exit_function", lambda: None)()
