"""Lists of image ids by split, as they are published with papers. Every complaint names file and row."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_pipelines.datasets.building.plan import SPLITS
from data_pipelines.datasets.shared.listed import text_lines
from medslip_jax.errors import InputError

# What published split lists call the splits.
_SPLIT_NAMES = {name: name for name in SPLITS} | {"val": "validation", "valid": "validation"}
_SUFFIXES = (".dcm", ".png")


def read_json(path: Path, kind: type, *, what: str = "the JSON file") -> dict | list:
    """A JSON file that holds one `kind`, dict or list; `InputError` naming the file, and `what` it is, otherwise."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot read {what} ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, kind):
        raise InputError(f"{path}: expected a JSON {'object' if kind is dict else 'list'}, got {type(value).__name__}")
    return value


def read_split_lists(root: Path, files: Mapping[str, str] | str) -> dict[str, str]:
    """Image id -> split, from published lists.

    Args:
      root: what the paths are relative to.
      files: split -> a text file with one id a line, or the name of one JSON file {split: [id, ...]}. The splits are
        train, validation (or val, valid) and test; an id may end in .dcm or .png.

    Raises:
      InputError: an unreadable file, another split, an id that comes twice.
    """
    if isinstance(files, str):
        table = read_json(root / files, dict)
        lists = {split: (root / files, _numbered(root / files, ids)) for split, ids in table.items()}
    else:
        lists = {split: (root / name, text_lines(root / name)) for split, name in files.items()}
    found: dict[str, str] = {}
    for split, (path, ids) in lists.items():
        if split not in _SPLIT_NAMES:
            raise InputError(f"{path}: split {split!r} is none of {', '.join(_SPLIT_NAMES)}")
        for number, entry in ids:
            image = entry[:-4] if entry.endswith(_SUFFIXES) else entry
            if image in found:
                raise InputError(f"{path}: {split} row {number}: id {image!r} is in {found[image]} already")
            found[image] = _SPLIT_NAMES[split]
    return found


def _numbered(path: Path, ids: object) -> Iterator[tuple[int, str]]:
    if not isinstance(ids, list) or not all(isinstance(entry, str) for entry in ids):
        raise InputError(f"{path}: expected a list of ids for each split")
    return ((number, entry.strip()) for number, entry in enumerate(ids, start=1))
