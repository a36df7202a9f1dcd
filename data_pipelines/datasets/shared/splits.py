"""Which split an image belongs to: by a hash of its patient, or by lists of ids as they are published with papers."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_pipelines.datasets.building.plan import SPLITS
from data_pipelines.datasets.shared.listings import read_json, text_lines
from medslip_jax.errors import InputError

# What published split lists call the splits.
SPLIT_NAMES = {name: name for name in SPLITS} | {"val": "validation", "valid": "validation"}
_SUFFIXES = (".dcm", ".png")


def split_of(patient: str, fractions: Mapping[str, float]) -> str:
    """The split of a patient from a hash of the id: the same on every machine and for all their images.

    The first 8 bytes of SHA-256 as a fraction in [0, 1): below the train share -> train, then validation,
    then test.
    """
    point = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64
    for split in SPLITS:
        point -= fractions.get(split, 0.0)
        if point < 0:
            return split
    return next(split for split in reversed(SPLITS) if fractions.get(split, 0.0) > 0)


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
        if split not in SPLIT_NAMES:
            raise InputError(f"{path}: split {split!r} is none of {', '.join(SPLIT_NAMES)}")
        for number, entry in ids:
            image = entry[:-4] if entry.endswith(_SUFFIXES) else entry
            if image in found:
                raise InputError(f"{path}: {split} row {number}: id {image!r} is in {found[image]} already")
            found[image] = SPLIT_NAMES[split]
    return found


def _numbered(path: Path, ids: object) -> Iterator[tuple[int, str]]:
    if not isinstance(ids, list) or not all(isinstance(entry, str) for entry in ids):
        raise InputError(f"{path}: expected a list of ids for each split")
    return ((number, entry.strip()) for number, entry in enumerate(ids, start=1))
