"""How Orbax and tensorstore fail, as one line, and how to keep the pages off the screen that their threads print."""

import contextlib
import errno
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from medslip_jax.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def reason(error: BaseException) -> str:
    """The message of an error in one line of bounded length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def error_code(error: BaseException | None) -> int | None:
    """The operating system's number for an error: tensorstore says it in a ValueError's text."""
    while error is not None:
        if found := re.search(r"os_error_code='(\d+)'", str(error)):
            return int(found[1])
        if isinstance(error, OSError):
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def not_written(directory: Path, error: BaseException, *, step: int, latest: int | None) -> InputError:
    """What the user is told of a save that failed.

    Args:
      directory: of the run's checkpoints.
      error: why it failed.
      step: of the checkpoint.
      latest: the newest checkpoint that is complete.
    """
    left = "there is no earlier one" if latest is None else f"the last good one is {latest}"
    code = error_code(error)
    if code in _FULL:
        how = error.strerror if isinstance(error, OSError) else os.strerror(code)
        return InputError(
            f"no space left for checkpoint {step} in {directory} ({how}); {left}; "
            "make room and run the same command again"
        )
    return InputError(f"checkpoint {step} in {directory} could not be written ({reason(error)}); {left}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While a save is going on, the errors of its threads are not printed by them too: waiting for it raises them.

    Two things, as nothing narrower reaches them. Orbax's threads log what they raise, traceback and all, before they
    hand it on: a filter on absl's logger drops those records of Orbax's own files. And the writes that end after
    the event loop they report to are raised where no caller is, in tensorstore's callbacks: Python gives these to
    `sys.unraisablehook` alone.
    """
    hook, logger = sys.unraisablehook, logging.getLogger("absl")

    def without_closed_loops(unraisable) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    def without_errors_of_orbax(record: logging.LogRecord) -> bool:
        return not (record.exc_info and "orbax" in record.pathname)

    sys.unraisablehook = without_closed_loops
    logger.addFilter(without_errors_of_orbax)
    try:
        yield
    finally:
        logger.removeFilter(without_errors_of_orbax)
        if sys.unraisablehook is without_closed_loops:
            sys.unraisablehook = hook
