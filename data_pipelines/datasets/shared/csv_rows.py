"""CSV files of official downloads, plain or gzip, row by row: memory does not grow with the file."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from medslip_jax.errors import InputError

_GZIP = b"\x1f\x8b"


def read_columns(path: str | Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The cells of some columns of every row below the header.

    Args:
      path: a CSV file in UTF-8 with one header line; whether it is gzip is told by its content.
      columns: names in the header.

    Yields:
      (row, cells): `row` as a spreadsheet counts, the header being 1; `cells` in the order of `columns`, without
      white space around them. Empty lines are passed over.

    Raises:
      InputError: a file that cannot be read or is cut short, a missing column, a row with too few or too many cells.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            with io.TextIOWrapper(gzip.open(raw) if packed else raw, encoding="utf-8-sig", newline="") as file:
                yield from _rows(path, file, columns)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or cut short ({error}); download it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot read the CSV file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason}); download it again") from error


def _rows(path: Path, file: TextIO, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(file, strict=True)
    number = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise InputError(f"{path}: no column {missing[0]!r}; the header has: {', '.join(header)}")
        wanted = [header.index(name) for name in columns]
        for cells in reader:
            number += 1
            if len(cells) != len(header):
                if not any(cells):
                    continue
                raise InputError(f"{path}: row {number}: {len(cells)} cells, the header has {len(header)}")
            yield number, tuple([cells[index].strip() for index in wanted])
    except csv.Error as error:
        raise InputError(f"{path}: row {number + 1}: malformed CSV ({error})") from error
