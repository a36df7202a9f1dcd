"""Is a checkpoint still what was written? Size and sha256 of its items' files, kept in it as digests.json.

Orbax's check sums cover its indexes only: of 100 flipped bits in array data, 95 came back as wrong numbers and nothing
was said (orbax-checkpoint 0.12.8). The digests are written before the checkpoint gets its name. What Orbax keeps
beside the items, such as the time, it still changes afterwards, so that has no digest; Orbax does without if it is
damaged.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from medslip_jax.storage.files import file_hash

DIGESTS = "digests.json"
_OTHER = "other bytes than were written"


def write_digests(directory: Path) -> None:
    """Writes digests.json for all files that the items of the directory have at this moment.

    Raises:
      OSError: a file cannot be read, or this one not be written.
    """
    files = sorted(f for f in directory.glob("*/**/*") if f.is_file())
    found = {f.relative_to(directory).as_posix(): {"size": f.stat().st_size, "sha256": file_hash(f)} for f in files}
    content = {"files": found}
    (directory / DIGESTS).write_text(json.dumps(content | {"sha256": _hash(content)}, indent=0))


def damage(directory: Path, *, items: Sequence[str] | None = None) -> str | None:
    """What is wrong with a checkpoint as "FILE: how", None if nothing is; without digests nobody knows, so None too.

    Args:
      directory: a finished checkpoint.
      items: names in it, such as "model", to look at; None: all.
    """
    if not (directory / DIGESTS).is_file():
        return None
    try:
        content = json.loads((directory / DIGESTS).read_bytes())
        intact = content.pop("sha256") == _hash(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        return f"{DIGESTS}: {_OTHER}"
    for name, digest in content["files"].items():
        item, inside, _ = name.partition("/")  # earlier versions list a file beside the items, too
        if inside and (items is None or item in items) and (found := _difference(directory / name, digest)):
            return f"{name}: {found}"
    return None


def _hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _difference(file: Path, digest: dict) -> str | None:
    try:
        size = file.stat().st_size
        if size != digest["size"]:
            return f"{size} bytes in place of {digest['size']}"
        return None if file_hash(file) == digest["sha256"] else _OTHER
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
