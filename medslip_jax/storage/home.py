"""A place for caches, whatever the account: a container's user may have no home directory, or one that is read-only."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from medslip_jax.errors import InputError

NO_TEMPORARY = "no folder for temporary files can be written (TMPDIR, /tmp, /var/tmp, the current one)"
MAKE_TEMPORARY = "set TMPDIR to one that can, or in a container: docker run --tmpfs /tmp"


def prepare() -> None:
    """Lets libraries find a home directory, by variables that they read when they are imported.

    Without HOME and without an entry in the list of users, TFDS and matplotlib end in a traceback and Hugging Face
    makes a folder named "~". What the user has set stays.
    """
    if known() is None:
        os.environ["HOME"] = str(private_folder() or "/")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    if "MPLCONFIGDIR" not in os.environ and not can_be_made(config / "matplotlib"):
        folder = private_folder()
        if folder is not None:  # else matplotlib warns, and works
            os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")


def temporary() -> Path | None:
    """The folder for temporary files: TMPDIR, or /tmp where that is missing; None if none can be written."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def require_temporary() -> None:
    """`InputError` without a folder for temporary files, which libraries would say in a traceback of their own."""
    if temporary() is None:
        raise InputError(f"{NO_TEMPORARY}; {MAKE_TEMPORARY}")


def known() -> Path | None:
    """The home directory by HOME or the list of users, whether or not it is there; None if neither knows one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def cache_folder() -> Path | None:
    """XDG_CACHE_HOME or ~/.cache, a private folder below TMPDIR where that cannot be written, None without either."""
    base = os.environ.get("XDG_CACHE_HOME")
    usual = Path(base) if base else (home := known()) and home / ".cache"
    return usual if usual and can_be_made(usual) else private_folder()


def can_be_made(folder: Path) -> bool:
    """Whether a folder can be written, or made with its parents; nothing is made."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def private_folder() -> Path | None:
    """TMPDIR/medslip_jax-UID, made here; None if there is no such place, or if it is not ours alone.

    Others can write to TMPDIR, and what lies in a cache of programs is run.
    """
    with contextlib.suppress(OSError):  # nowhere to make it, or a link or file of somebody else in its place
        folder = Path(tempfile.gettempdir()) / f"medslip_jax-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    return None
