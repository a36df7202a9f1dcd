"""Reads NumPy's .npz files, of which nothing is unpickled."""

import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from medslip_jax.errors import InputError

# What NumPy and zipfile raise for a damaged file.
_DAMAGED: tuple[type[Exception], ...] = (ValueError, EOFError, KeyError, TypeError, SyntaxError, tokenize.TokenError)
_DAMAGED += (NotImplementedError, zipfile.BadZipFile, zlib.error, MemoryError, RuntimeError, OSError)


def read_arrays(path: Path, *, repair: str) -> dict[str, np.ndarray]:
    """{name: array} of an .npz file.

    Args:
      path: the file.
      repair: what to do if it cannot be read, for the message.

    Raises:
      InputError: missing, damaged, or not such a file.
    """
    try:
        # NumPy warns of headers that Python 2 wrote, and of damaged ones that look so.
        quiet = warnings.catch_warnings(action="ignore", category=UserWarning)
        with quiet, path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except _DAMAGED as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        reason = getattr(error, "strerror", None) or said
        raise InputError(f"{path}: cannot be read ({reason}); {repair}") from error
