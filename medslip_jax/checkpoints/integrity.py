"""Is a checkpoint still what was written? Size and sha256 of its files, kept in it as digests.json.

Orbax's check sums cover its indexes only: of 100 flipped bits in array data, 95 came back as wrong numbers and nothing
was said (orbax-checkpoint 0.12.8). The digests are written before the checkpoint gets its name, so that a finished
checkpoint without them is one of an earlier version; such a one counts as intact if it can be read through.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import tensorstore as ts

from medslip_jax.storage.files import file_hash

DIGESTS = "digests.json"
# What a run needs to go on.
RUN_ITEMS = ("model", "optimizer", "loader", "config")
# Orbax adds a time stamp to its metadata, and an empty formality, once the digests are there.
_STAMPED, _STAMP, _LATER = "_CHECKPOINT_METADATA", "commit_timestamp_nsecs", "commit_success.txt"
_STAMP_SLACK = 3600 * 10**9
_ARRAYS = ("model", "optimizer")
_JSON_FILES = {_STAMPED: _STAMPED, "metrics": "metrics/metrics"}
_OTHER = "other bytes than were written"


def write_digests(directory: Path) -> None:
    """Writes digests.json for all files that are in the directory now.

    Raises:
      OSError: a file cannot be read, or this one not be written.
    """
    skipped = {directory / DIGESTS, directory / _LATER}
    files = sorted(f for f in directory.rglob("*") if f.is_file() and f not in skipped)
    content = {"written": time.time_ns(), "files": {f.relative_to(directory).as_posix(): _digest(f) for f in files}}
    temporary = directory / f".{DIGESTS}.tmp"
    temporary.write_text(json.dumps(content | {"sha256": _hash(content)}, indent=0))
    temporary.replace(directory / DIGESTS)


def damage(directory: Path, *, items: Sequence[str] | None = None) -> str | None:
    """What is wrong with a checkpoint as "FILE: how", None if nothing is.

    Args:
      directory: a finished checkpoint.
      items: names in it, such as "model", to look at; None: all that was written, which has to be enough to go on.
    """
    if not (directory / DIGESTS).is_file():
        return _unreadable(directory, items=RUN_ITEMS if items is None else items)
    try:
        content = json.loads((directory / DIGESTS).read_bytes())
        intact = content.pop("sha256") == _hash(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        return f"{DIGESTS}: {_OTHER}"
    for name, digest in content["files"].items():
        if items is None or name.split("/")[0] in items:
            found = _difference(directory / name, digest, written=content["written"])
            if found:
                return f"{name}: {found}"
    return None


def read_through(arrays: Path) -> None:
    """Fails where Orbax would too, but quietly: its threads print pages when a file is cut short or missing.

    Raises:
      Exception: as tensorstore has it.
    """
    if not (arrays / "manifest.ocdbt").is_file():
        raise FileNotFoundError(f"{arrays.name}/manifest.ocdbt is missing")
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{arrays}/"}).result()
    for key in store.list().result():
        found = store.read(key).result()
        # Nothing is stored with an empty value: it is what a lost data file reads as.
        if found.state != "value" or not found.value:
            raise FileNotFoundError(f"the data of {key.decode()} are missing")


def _digest(file: Path) -> dict:
    if file.name == _STAMPED:
        return {"sha256": _hash({k: v for k, v in json.loads(file.read_bytes()).items() if k != _STAMP})}
    return {"size": file.stat().st_size, "sha256": file_hash(file)}


def _hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _difference(file: Path, digest: dict, *, written: int) -> str | None:
    try:
        if not file.is_file():
            return "is missing"
        size = file.stat().st_size
        if size != digest.get("size", size):
            return f"{size} bytes in place of {digest['size']}"
        if _digest(file) != digest or (file.name == _STAMPED and not _plausible_stamp(file, written=written)):
            return _OTHER
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except (ValueError, AttributeError):  # no JSON any more
        return _OTHER
    return None


def _plausible_stamp(file: Path, *, written: int) -> bool:
    """It comes right after the digests and decides only which checkpoint is kept as an hourly one."""
    stamp = json.loads(file.read_bytes()).get(_STAMP)
    return isinstance(stamp, int) and abs(stamp - written) < _STAMP_SLACK


def _unreadable(directory: Path, *, items: Sequence[str]) -> str | None:
    """What can be said without digests."""
    for item in items:
        file = directory / _JSON_FILES.get(item, f"{item}/metadata")
        try:
            if item in _ARRAYS:
                read_through(directory / item)
            else:
                json.loads(file.read_bytes())
        except Exception as error:  # tensorstore raises bare ones
            return f"{item}: cannot be read ({' '.join(str(error).split())[:160]})"
    return None
