"""The lists of a data set, as text, CSV (plain or gzip) or JSON. Every complaint names the file and the row."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO, TypeVar

from medslip_jax.errors import InputError

_BLANK_BEHIND_QUOTE = re.compile(r'"[ \t]+(,|\r?$)')
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
    empty_rows: list[int] | None = None,
    repair: str = "download it again",
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The cells of some columns of every row below the header; memory does not grow with the file.

    Args:
      path: a CSV file in UTF-8 with one header line; whether it is gzip is told by its content. Blanks after a comma,
        also before a quotation mark, do not count, nor do empty cells beyond the header.
      columns: names in the header.
      empty_rows: if given, rows of empty cells are passed over as blank lines are, and the numbers of both go there,
        but for blank lines at the end.
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
                yield from _rows(path, file, [name.strip() for name in columns], empty_rows=empty_rows)
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


def _without_blanks_behind_quotes(lines: Iterable[str]) -> Iterator[str]:
    """`"a" ,b` as `"a",b`: csv skips blanks before a quotation mark alone. Within quotes nothing changes."""
    inside = False
    for line in lines:
        if _BLANK_BEHIND_QUOTE.search(line):
            parts = line.split('"')
            for number in range(1, len(parts)):
                opens = inside == (number % 2 == 0)
                rest = parts[number].lstrip(" \t")
                if not opens and (not rest.strip("\r\n") or rest.startswith(",")):
                    parts[number] = rest
            line = '"'.join(parts)
        inside ^= line.count('"') % 2 == 1
        yield line


def _rows(
    path: str | Path, file: TextIO, columns: Sequence[str], *, empty_rows: list[int] | None
) -> Iterator[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(_without_blanks_behind_quotes(file), strict=True, skipinitialspace=True)
    number, blank = 1, []  # the row, and blank lines before it, which do not count at the end
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
            if not cells:
                blank.append(number)
                continue
            if empty_rows is not None:
                empty_rows += blank
                blank = []
                if not any(map(str.strip, cells)):
                    empty_rows.append(number)
                    continue
            if len(cells) > len(header) and not any(map(str.strip, cells[len(header) :])):
                cells = cells[: len(header)]
            if len(cells) == len(header):
                yield number, tuple([cells[index].strip() for index in wanted])
            elif any(cells):
                raise InputError(f"{path}: row {number}: {len(cells)} cells, the header has {len(header)}")
    except csv.Error as error:
        raise InputError(f"{path}: row {number + 1}: malformed CSV ({error})") from error
