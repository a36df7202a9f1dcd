"""Write under a temporary name, then rename, so that nobody meets half a file; and the hashes of files."""

import contextlib
import glob
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from medslip_jax.errors import InputError

# Temporary paths that are being written now.
_UNFINISHED: set[Path] = set()


@contextlib.contextmanager
def replacing_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` at the end, removed if the block raises.

    The temporary name keeps the suffix, as libraries choose a format by it.

    Raises:
      InputError: the folder is missing or cannot be written, or the block cannot read a file of its own.
    """
    path = Path(path)
    temporary = _temporary(path)
    _UNFINISHED.add(temporary)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _failed(path, temporary, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        _UNFINISHED.discard(temporary)


@contextlib.contextmanager
def replacing_directory(path: str | Path) -> Iterator[Path]:
    """A new temporary directory beside `path`; takes its place at the end, and is removed if the block raises.

    A directory that is already there is moved aside first and deleted last, so that at no moment both are gone.

    Raises:
      InputError: the parent is missing or cannot be written, or the block cannot read a file of its own.
    """
    path = Path(path).absolute()
    temporary, old = _temporary(path), path.with_name(f".{path.name}.{os.getpid()}.old")
    _UNFINISHED.add(temporary)
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
    except OSError as error:
        raise _failed(path, temporary, error) from error
    finally:
        # Orbax writes to a longer name beside it, and leaves that when it fails.
        for left in (temporary, *temporary.parent.glob(f"{glob.escape(temporary.name)}.*")):
            remove_directory(left)
        _UNFINISHED.discard(temporary)
    shutil.rmtree(old, ignore_errors=True)


def remove_unfinished() -> None:
    """What the two above are writing, for a process that ends without their `finally`."""
    for temporary in list(_UNFINISHED):
        for left in (temporary, *temporary.parent.glob(f"{glob.escape(temporary.name)}.*")):
            if left.is_dir():
                remove_directory(left)
            else:
                left.unlink(missing_ok=True)


def on_this_machine(path: str | Path, *, flag: str) -> Path:
    """The path, or `InputError` naming the flag for a URL, which would become a directory of that name here."""
    if "://" in str(path):
        raise InputError(
            f"{flag}={path}: is a URL, and files are read and written here; mount the bucket (gcsfuse, s3fs) and give "
            "its directory (docs/pods.md)"
        )
    return Path(path)


def made_directory(path: str | Path, *, flag: str) -> Path:
    """The directory, made with its parents if it is not there; `InputError` naming the flag if that cannot be."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{flag} {path}: cannot be written ({error.strerror}); name another folder") from error
    return Path(path)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replaces a file whole."""
    with replacing_file(path) as temporary:
        temporary.write_bytes(data)


def file_hash(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_hash(directory: Path) -> str:
    """sha256 (hex) over the names and bytes of all files below a directory."""
    digest = hashlib.sha256()
    for file in sorted(p for p in directory.rglob("*") if p.is_file()):
        digest.update(str(file.relative_to(directory)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def remove_directory(directory: Path) -> None:
    """Removes what a failed write has left; threads of a library may still be writing into it."""
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


def _failed(path: Path, temporary: Path, error: OSError) -> InputError:
    other = str(error.filename or "")
    if other and temporary.name not in other and Path(other).name != path.name:  # what is written may be read elsewhere
        return InputError(f"{other}: {error.strerror}, while {path} was written")
    return InputError(f"{path}: cannot be written ({error.strerror or error}); check the folder and the space left")
