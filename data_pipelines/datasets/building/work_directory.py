"""The hidden directory that a build works in, and the exchange with what it replaces: both survive kill -9.

out/.NAME-building/lock        held by the one process that builds
                   ID/         parts of the plan with that id (see `parts`)
                   records/    what will be out/NAME
                   moving      the id of the plan whose records are being moved to out/NAME
out/.NAME-replaced             what was in out/NAME before, for a moment
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from medslip_jax.errors import InputError

_LOCK, _MOVING, RECORDS = "lock", "moving", "records"


@contextlib.contextmanager
def work_directory(final: Path) -> Iterator[Path]:
    """The directory, beside `final` so that it can be renamed; held by one process at a time.

    It stays for the next run if the block raises, unless there is nothing in it. Where a killed exchange moved the old
    data aside and came no further, they are back when the block begins.

    Raises:
      InputError: it cannot be written, or another process has it. An `OSError` of the block, such as a full disk,
        becomes an `InputError` that names the directory.
    """
    work = _directory_of(final)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / _LOCK).open("w")
    except OSError as error:
        raise InputError(f"{final.parent}: cannot write there ({error.strerror})") from error
    with lock:
        _acquire(lock, work / _LOCK, final)
        try:
            _settle(final)
            yield work
        except OSError as error:
            raise InputError(
                f"{final.parent}: cannot build there ({error.strerror or error}); "
                "make room and run it again, it goes on where it stopped"
            ) from error
        finally:
            if [path.name for path in work.iterdir()] == [_LOCK]:
                shutil.rmtree(work, ignore_errors=True)


def is_idle(final: Path) -> bool:
    """Whether no build is in work, nor was stopped."""
    return not _directory_of(final).exists()


def start(work: Path, plan_id: str) -> Path:
    """The directory of a plan's parts; parts of other plans, and records that are half-written, are deleted."""
    (work / _MOVING).unlink(missing_ok=True)
    for entry in work.iterdir():
        if entry.is_dir() and entry.name != plan_id:
            shutil.rmtree(entry)
    (work / plan_id).mkdir(exist_ok=True)
    return work / plan_id


def move(work: Path, final: Path, *, plan_id: str) -> None:
    """Moves the records to `final`. What was there is deleted last, and comes back if they cannot be moved."""
    (work / _MOVING).write_text(plan_id)
    old = _old(final)
    if final.exists():
        final.rename(old)
    try:
        (work / RECORDS / final.name).rename(final)
    finally:
        _settle(final)


def moved(work: Path, final: Path, *, plan_id: str) -> bool:
    """Whether a run of this plan was stopped after the move, with only its traces left to be removed."""
    marker = work / _MOVING
    started = marker.exists() and marker.read_text() == plan_id
    return started and final.exists() and not (work / RECORDS / final.name).exists()


def clear(work: Path) -> None:
    """Deletes everything but the lock, the mark of the move last, so that a run stopped here is known as finished."""
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    (work / _MOVING).unlink(missing_ok=True)


def _directory_of(final: Path) -> Path:
    return final.with_name(f".{final.name}-building")


def _old(final: Path) -> Path:
    return final.with_name(f".{final.name}-replaced")


def _settle(final: Path) -> None:
    """The old data come back where there are no new ones, and are deleted where there are."""
    old = _old(final)
    if old.exists() and not final.exists():
        old.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _acquire(lock: TextIO, path: Path, final: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other process may have finished, and deleted the file, after this one opened it.
        same = os.fstat(lock.fileno()).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        same = False
    except OSError as error:  # a cluster's file system that is mounted without locks, for one
        raise InputError(f"{path}: cannot be locked ({error.strerror}); choose --out on another disk") from error
    if not same:
        raise InputError(f"{final}: another process is building it; wait for it")
