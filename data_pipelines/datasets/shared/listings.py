"""The lists of a data set, as text, CSV (plain or gzip) or JSON. Every complaint names the file and the row."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TextIO, TypeVar

from medslip_jax.errors import InputError

_GZIP = b"\x1f\x8b"
Kind = TypeVar("Kind", dict, list)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without white space at its ends) of every line that is not blank.

    Raises:
      InputError: the file cannot be read or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise InputError(f"{path}: cannot read the list ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error


def read_json(path: Path, kind: type[Kind], *, what: str = "the JSON file") -> Kind:
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


def read_columns(
    path: str | Path,
    columns: Sequence[str],
    *,
    empty_rows: Literal["skip", "refuse"] = "skip",
    repair: str = "download it again",
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The cells of some columns of every row below the header; memory does not grow with the file.

    Args:
      path: a CSV file in UTF-8 with one header line; whether it is gzip is told by its content.
      columns: names in the header.
      empty_rows: "skip" passes over blank lines; "refuse" allows them at the end only, and no row of empty cells.
      repair: what to do with a damaged file.

    Yields:
      (row, cells): `row` as a spreadsheet counts, the header being 1; `cells` in the order of `columns`, without
      white space around them.

    Raises:
      InputError: a file that cannot be read or is cut short, a missing or repeated column, a row with too few or too
        many cells.
    """
    try:
        with Path(path).open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            with io.TextIOWrapper(gzip.open(raw) if packed else raw, encoding="utf-8-sig", newline="") as file:
                yield from _rows(path, file, [name.strip() for name in columns], refuse_empty=empty_rows == "refuse")
    except InputError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or cut short ({error}); {repair}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot read the CSV file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason}); {repair}") from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{str(path)!r}: cannot read the CSV file ({error})") from error


def _rows(
    path: str | Path, file: TextIO, columns: Sequence[str], *, refuse_empty: bool
) -> Iterator[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(file, strict=True)
    number, blank = 1, 0  # the row, and the first without a character, which may only be at the end
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in columns:
            if name not in header:
                raise InputError(f"{path}: no column {name!r}; the header has: {', '.join(header)}")
            if header.count(name) > 1:
                raise InputError(f"{path}: column {name!r} is in the header more than once; rename one of them")
        wanted = [header.index(name) for name in columns]
        for cells in reader:
            number += 1
            blank = blank or (0 if cells else number)
            if refuse_empty and cells and (blank or not any(map(str.strip, cells))):
                raise InputError(f"{path}: row {blank or number}: empty row; remove it")
            if len(cells) == len(header):
                yield number, tuple([cells[index].strip() for index in wanted])
            elif any(cells):
                raise InputError(f"{path}: row {number}: {len(cells)} cells, the header has {len(header)}")
    except csv.Error as error:
        raise InputError(f"{path}: row {number + 1}: malformed CSV ({error})") from error
