"""How Orbax and tensorstore fail, as one line, and how to keep the pages off the screen that their threads print."""

import errno
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from absl import logging as absl_logging

from medslip_jax.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def reason(error: BaseException) -> str:
    """The message of an error in one line of bounded length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def error_code(error: BaseException) -> int | None:
    """The operating system's number for an error: tensorstore says it in a ValueError's text."""
    while error is not None:
        found = re.search(r"os_error_code='(\d+)'", str(error))
        if found or isinstance(error, OSError):
            return int(found[1]) if found else error.errno
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


def remove_unfinished(directory: Path) -> None:
    """Removes what a save that failed has left; its threads may still be writing into it."""
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)


def quiet() -> Callable[[], None]:
    """From now on what Orbax's threads raise is not printed by them too, with their tracebacks.

    It is raised again where the save is waited for. A process that shows absl's messages of level INFO keeps them all.

    Returns:
      What makes them print again; it is to be called, as it does not happen by itself.
    """
    verbosity, hook, asyncio = absl_logging.get_verbosity(), sys.unraisablehook, logging.getLogger("asyncio")

    def without_closed_loops(unraisable) -> None:
        # The other writes of a save that has failed end after the loop that they would report to.
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    lowered = absl_logging.FATAL < verbosity < absl_logging.INFO

    def loud() -> None:
        if lowered:
            absl_logging.set_verbosity(verbosity)
        asyncio.removeFilter(_not_of_orbax)
        if sys.unraisablehook is without_closed_loops:
            sys.unraisablehook = hook

    sys.unraisablehook = without_closed_loops
    asyncio.addFilter(_not_of_orbax)
    if lowered:
        absl_logging.set_verbosity(absl_logging.FATAL)
    return loud


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in logging.Formatter().format(record)  # with the traceback
