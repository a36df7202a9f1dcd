"""What image libraries write to standard error while a file is read, without its name -> texts for whoever knows it.

pydicom warns through `warnings` and again through `logging`, a plug-in that fails leaves a traceback in the log, and
the JPEG libraries inside GDCM and others print to file descriptor 2. `warnings.catch_warnings` would not do: it changes
the whole process, and files are read in threads.
"""

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

# Loggers with no handler of their own; a filter does not reach a logger's children, so each is named.
_LOGGERS = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "pylibjpeg",
    "pylibjpeg.utils",
    "pylibjpeg.tools.jpegio",
    "pylibjpeg.tools.s10918.io",
    "openjpeg",
    "openjpeg.utils",
    "PIL.ImageFile",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",
)
_MODULES = r"(pydicom|pylibjpeg|openjpeg|PIL|data_pipelines\.images)(\.|$)"
_MOST, _LONGEST = 3, 240  # texts of one file, as a header may have hundreds of odd values; letters of one
_OF_FILES = (UserWarning, RuntimeWarning)  # others, such as of what is out of date, are no matter of a file

_lock = threading.Lock()
# One for the descriptor alone: the decoders that print do not run in parallel.
_descriptor = threading.Lock()
_reading = threading.local()
_depth = 0
_restore = warnings.catch_warnings()


@contextlib.contextmanager
def caught() -> Iterator[list[str]]:
    """Collects what libraries say in this thread, each text once and three at most; nothing of it is printed.

    What other threads say is not touched.
    """
    outer, _reading.found = getattr(_reading, "found", None), []
    _install()
    try:
        yield _reading.found
    finally:
        _uninstall()
        _reading.found = outer


@contextlib.contextmanager
def caught_prints() -> Iterator[None]:
    """Inside `caught`, for a decoder in C that prints to file descriptor 2 as it is. One thread at a time."""
    with _descriptor, contextlib.ExitStack() as stack:
        try:
            sys.stderr.flush()
            file = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(2)
        except (OSError, AttributeError, ValueError):  # there is no standard error, or no place for a file
            yield
            return
        try:
            os.dup2(file.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file.read().decode(errors="replace").splitlines():
                _add(line)


def _add(text: str) -> None:
    found, line = getattr(_reading, "found", None), " ".join(text.split())[:_LONGEST]
    if found is not None and line and line not in found and len(found) < _MOST:
        found.append(line)


def _install() -> None:
    global _depth, _restore  # noqa: PLW0603, as filters are the process's
    with _lock:
        _depth += 1
        if _depth > 1:
            return
        # Left by whichever thread reads last, so not as a `with` block.
        _restore = warnings.catch_warnings()
        _restore.__enter__()
        shown = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None):
            if getattr(_reading, "found", None) is None or not issubclass(category, _OF_FILES):
                shown(message, category, filename, lineno, file, line)
            else:
                _add(str(message))

        # "always": by default the second file with the same fault would have no note.
        for category in _OF_FILES:
            warnings.filterwarnings("always", category=category, module=_MODULES)
        warnings.showwarning = show
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_keep)


def _uninstall() -> None:
    global _depth  # noqa: PLW0603
    with _lock:
        _depth -= 1
        if _depth == 0:
            _restore.__exit__(None, None, None)
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(_keep)


def _keep(record: logging.LogRecord) -> bool:
    """Whether a record goes on to the handlers: in a thread that reads it is collected, without traceback."""
    if getattr(_reading, "found", None) is None:
        return True
    _add(record.getMessage())
    return False
