"""A built data set on disk: where it is, and its records."""

import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import records
from data_pipelines.datasets.builders import BUILDERS
from medslip_jax.errors import InputError


class RecordSource:
    """Random access to one built split: `source[i]` is a record (see `data_pipelines.records`).

    Pickled as (directory, split) and opened again, as grain sends sources to its worker processes.
    """

    def __init__(self, directory: str | Path, split: str):
        self._directory, self._split = str(directory), split
        builder = tfds.builder_from_directory(self._directory)
        if set(builder.info.features) - set(records.OPTIONAL_KEYS) != set(records.KEYS):
            raise InputError(f"{directory}: not made by `medslip data build`; its features are no record's")
        if split not in builder.info.splits:
            found = ", ".join(builder.info.splits) or "none"
            raise InputError(f"{directory}: no split {split!r}; it has: {found}")
        self._source = builder.as_data_source(split)
        # Options and policies of the build, JSON-able; {} where nothing was written.
        self.metadata = dict(builder.info.metadata or {})

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        return records.decode(self._source[index])

    def __iter__(self) -> Iterator[dict]:
        # ArrayRecord ends with a ValueError where Python's own protocol expects an IndexError.
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"RecordSource({self._directory!r}, {self._split!r})"

    def __reduce__(self):
        return RecordSource, (self._directory, self._split)


def open_split(data_dir: str | Path, name: str, split: str) -> RecordSource:
    """Opens a built split.

    Args:
      data_dir: the directory given to `medslip data build NAME --out DATA_DIR`.
      name: a data set's name, or the path (absolute or below data_dir) of a directory with dataset_info.json.
      split: "train", "validation" or "test".

    Raises:
      InputError: nothing built there (the message has the command that builds it), or no such split.
    """
    directory = Path(data_dir) / name
    built = built_directory(directory)
    if built is None:
        known = name if name in BUILDERS else "NAME"
        root = "" if name == "phantom" else " --root DIR"
        command = f"medslip data build {known}{root} --out {data_dir}"
        raise InputError(f"{directory}: no built data set; make it with: {command}")
    return RecordSource(built, split)


def built_directory(path: Path) -> Path | None:
    """The directory with dataset_info.json: `path` or the newest version in it (1.10.0 after 1.9.0); None if none."""
    if (path / "dataset_info.json").is_file():
        return path
    versions = [file.parent for file in path.glob("*/dataset_info.json")]
    return max(versions, key=lambda version: [int(number) for number in re.findall(r"\d+", version.name)], default=None)
