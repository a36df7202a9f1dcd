"""Bytes of a DICOM file -> its data set, as bytes, also where the header does not say how it is written, or is missing.

The header is preamble, "DICM" and the elements of group 2 (PS3.10, 7.1), always explicit little endian. What follows
tells by its first element whether it is implicit or explicit and which byte comes first, and by inflating whether it is
deflated (PS3.5, A.1 to A.5).
"""

import dataclasses
import io
import zlib
from typing import Any

from medslip_jax.errors import InputError

DEFLATED = "1.2.840.10008.1.2.1.99"
_PREAMBLE = 128


@dataclasses.dataclass
class Body:
    """The data set behind the header: `data` from its first byte (inflated), how it is written, what is declared."""

    meta: Any
    data: bytes
    implicit: bool
    little_endian: bool
    declared: str


def is_dicom(data: bytes) -> bool:
    """Whether it begins like DICOM: with "DICM" or, of files without that preamble, an element of group 2 or 8."""
    if data[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return True
    return data[:2] in (b"\x02\0", b"\x08\0", b"\0\x08") and _begins_well(data)


def body_of(data: bytes) -> Body:
    """The data set of a file, whose header may be missing, or not say how it is written.

    Raises:
      InputError: nothing in it, or deflated and cut short.
    """
    meta, rest = _behind_header(data)
    if _is_deflated(meta, rest):
        rest = _inflated(rest)
    explicit = rest[4:6].isalpha() and rest[4:6].isupper()
    # Of the first group, 0008 as a rule, the smaller reading is meant.
    little = int.from_bytes(rest[:2], "little") <= int.from_bytes(rest[:2], "big")
    return Body(meta, rest, not explicit, little, _declared(meta))


def is_deflated(data: bytes) -> bool:
    """Whether a file's data set is compressed as a whole, and so may have any size."""
    return _is_deflated(*_behind_header(data))


def _behind_header(data: bytes) -> tuple[Any, bytes]:
    """The elements of the header's own group, which may be none, and the bytes behind it."""
    from pydicom.filereader import read_dataset

    file = io.BytesIO(data)
    file.seek(_PREAMBLE + 4 if data[_PREAMBLE : _PREAMBLE + 4] == b"DICM" else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    return meta, data[file.tell() :]


def _declared(meta: Any) -> str:
    return str(meta.get("TransferSyntaxUID") or "").strip("\0 ")


def _is_deflated(meta: Any, rest: bytes) -> bool:
    declared = _declared(meta)
    return declared == DEFLATED or (not declared and not _begins_well(rest) and _begins_well(_inflated(rest, 64)))


def _begins_well(data: bytes) -> bool:
    """Whether the first element is one: a low group, and a VR in two letters or a length within reason."""
    group = min(int.from_bytes(data[:2], "little"), int.from_bytes(data[:2], "big"))
    known = len(data) >= 8 and 0 < group <= 0x28
    return known and ((data[4:6].isalpha() and data[4:6].isupper()) or int.from_bytes(data[4:8], "little") < 2**16)


def _inflated(data: bytes, most: int = 0) -> bytes:
    """Raw deflate; all of it, or its first bytes, of which b"" says that it is none."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflater.decompress(data, most)
    except zlib.error as error:
        if most:
            return b""
        raise InputError(f"its deflated data set is damaged ({error}); get the file again") from error
    if not most and not inflater.eof:
        raise InputError("the DICOM file ends within its deflated data set; get the file again")
    return found
