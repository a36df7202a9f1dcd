"""A RadGraph file of any size, read study by study: MIMIC-CXR's is one JSON object of hundreds of megabytes.

`json.load` of it takes several times its size in memory. Here a window slides over the file, and the entries of the
top-level object are decoded one by one; what is kept besides is one bit a study, for noticing a study that
comes twice.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from data_pipelines.radgraph.entities import Entity, Skipped, in_list
from data_pipelines.radgraph.matrices import fill_study, study_id
from medslip_jax import vocabulary
from medslip_jax.errors import InputError

CHUNK = 1 << 20
LARGEST_ENTRY = 1 << 26
_DECODE = json.JSONDecoder().raw_decode
_SPACE = " \t\r\n"
_CLOSING = {"{": "}", "[": "]"}
_GZIP = b"\x1f\x8b"
# A token that the window's end cuts in two is an error for the decoder at most this far from the end.
_CUT = 16
_DIGITS = 8


def iter_label_matrices(
    path: str | Path, *, chunk: int = CHUNK, skipped: Skipped | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Label matrices of a RadGraph file, in its order, with memory that does not grow with the file.

    The same studies, ids and numbers as `radgraph.label_matrices(json.load(file))`.

    >>> for study, matrix in iter_label_matrices("MIMIC-CXR_graphs.json"):  # doctest: +SKIP
    ...     store(study, matrix)

    Args:
      path: .json or .json.gz (told by content), an object or a list of studies, see `radgraph.label_matrices`.
      chunk: bytes that are read at a time.
      skipped: collects what is left out; without it that is a warning behind the last study.

    Yields:
      (study_id, int8 (51, 75)): each matrix is an array of its own.

    Raises:
      InputError: the file cannot be read, is cut short, is neither an object nor a list, has a repeated study or
        malformed ones only. One line with the file's name and the study or byte.
    """
    shape = len(vocabulary.ANATOMIES), len(vocabulary.PATHOLOGIES)
    for name, entities in iter_entities(path, chunk=chunk, skipped=skipped):
        matrix = np.full(shape, -1, np.int8)
        fill_study(matrix, entities)
        yield name, matrix


def iter_entities(
    path: str | Path, *, chunk: int = CHUNK, skipped: Skipped | None = None
) -> Iterator[tuple[str, dict[str, Entity]]]:
    """(study id, entities) of each study that has any.

    Args, Raises: as `iter_label_matrices`.
    """
    seen, found = _Seen(), Skipped() if skipped is None else skipped
    for key, study in iter_studies(path, chunk=chunk):
        entities = found.entities(study, key=key)
        if not entities:
            continue
        name = study_id(key)
        if seen.twice(name):
            raise InputError(f"{path}: RadGraph study {key!r}: study id {name} occurs twice; give each study one key")
        yield name, entities
    found.conclude(where=f"{path}: ", warn=skipped is None)


def iter_studies(path: str | Path, *, chunk: int = CHUNK) -> Iterator[tuple[str, Any]]:
    """(key, parsed value) of each study of a JSON file; keys that start with "_" are notes, left out.

    Args, Raises: as `iter_label_matrices`, less what is wrong inside of a study.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            with gzip.open(raw) if packed else raw as file:
                yield from _entries(_Window(file, path, chunk))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or f"the gzip data are damaged or cut short: {error}"
        raise InputError(f"{path}: cannot read the RadGraph file ({reason})") from error


def _entries(window: "_Window") -> Iterator[tuple[str, Any]]:
    opening = window.next()
    if not opening or opening not in _CLOSING:
        raise window.error("expected a JSON object of studies that begins with '{', or a list with '['")
    window.take()
    if window.next() == _CLOSING[opening]:
        window.take()
    else:
        entries = _pairs(window) if opening == "{" else in_list(_elements(window))
        yield from (entry for entry in entries if not entry[0].startswith("_"))
    if window.next():
        raise window.error("expected nothing behind the object of studies")


def _elements(window: "_Window") -> Iterator[Any]:
    separator, position = ",", 0
    while separator == ",":
        element = window.value(f"element {position}")
        separator = window.expect(",]", after=f"element {position}")
        yield element
        position += 1


def _pairs(window: "_Window") -> Iterator[tuple[str, Any]]:
    separator = ","
    while separator == ",":
        key = window.value("a study's key")
        if not isinstance(key, str):
            raise window.error(f"expected a study's key in quotes before this, got {str(key)[:40]}")
        window.expect(":", after=key)
        study = window.value(f"study {key!r}")
        separator = window.expect(",}", after=key)
        yield key, study


class _Window:
    """The part of a file's text that is being decoded."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, path: Path, chunk: int) -> None:
        self._file, self._path, self._chunk = file, path, chunk
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._read, self._ended = "", 0, 0, False

    def next(self) -> str:
        """The next character that is no white space, left where it is; "" at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def take(self) -> str:
        """The character that `next` found."""
        self._at += 1
        return self._text[self._at - 1]

    def expect(self, characters: str, *, after: str) -> str:
        """Take one of these characters, which is the next thing in the file."""
        found = self.next()
        if not found:
            raise self._cut_short(f"after {after!r}")
        if found not in characters:
            expected = " or ".join(map(repr, characters))
            raise self.error(f"expected {expected} after {after!r}, got {found!r}")
        return self.take()

    def value(self, what: str) -> Any:
        """Decode one JSON value and move behind it."""
        while True:
            if not self.next():
                raise self._cut_short(f"before {what}")
            try:
                value, end = _DECODE(self._text, self._at)
            except json.JSONDecodeError as error:
                self._more_or_raise(error, what)
                continue
            except RecursionError as error:
                raise self.error(f"{what} is nested too deeply") from error
            except ValueError as error:  # Python reads no integer of more than 4,300 digits
                raise self.error(f"{what} holds a number that is too long ({str(error).partition(':')[0]})") from error
            if end < len(self._text) or self._ended:  # a number at the window's end may go on behind it
                self._at = end
                return value
            self._more()

    def _more_or_raise(self, error: json.JSONDecodeError, what: str) -> None:
        near = 0 if self._ended else _CUT
        if error.msg.startswith("Invalid \\u"):
            near = _CUT
        unfinished = error.msg.startswith("Unterminated string") or error.pos >= len(self._text.rstrip()) - near
        if unfinished and self._ended:
            raise self._cut_short(f"inside {what}") from error
        if not unfinished:
            self._at = error.pos
            raise self.error(f"not valid JSON in {what}: {error.msg}") from error
        if len(self._text) - self._at > LARGEST_ENTRY:
            raise self.error(f"{what} is longer than {LARGEST_ENTRY >> 20} MB: not a report") from error
        self._more()

    def _more(self) -> None:
        """Forget what lies behind, read on: a chunk, or as much as is already waiting to be complete."""
        self._text = self._text[self._at :]
        self._at = 0
        data = self._file.read(max(self._chunk, len(self._text)))
        self._read += len(data)
        self._ended = not data
        try:
            self._text += self._decode(data, self._ended)
        except UnicodeDecodeError as error:
            byte = self._read - len(error.object) + error.start
            raise InputError(f"{self._path}: byte {byte} is not UTF-8 text ({error.reason})") from error

    def _byte(self) -> int:
        return self._read - len(self._text[self._at :].encode())

    def error(self, message: str) -> InputError:
        return InputError(f"{self._path}: byte {self._byte()}: {message}")

    def _cut_short(self, where: str) -> InputError:
        return InputError(f"{self._path}: cut short at byte {self._read}, {where}; download or copy it again")


class _Seen:
    """Which study ids came already: one bit each up to 8 digits (12.5 MB that are touched only where ids lie)."""

    def __init__(self) -> None:
        self._bits = np.zeros(10**_DIGITS // 8, np.uint8)
        self._others: set[str] = set()

    def twice(self, name: str) -> bool:
        """Whether `name` was given before."""
        if len(name) > _DIGITS or not (name.isascii() and name.isdecimal()) or (name[0] == "0" and name != "0"):
            known = name in self._others
            self._others.add(name)
            return known
        byte, bit = divmod(int(name), 8)
        known = bool(self._bits[byte] >> bit & 1)
        self._bits[byte] |= 1 << bit
        return known
