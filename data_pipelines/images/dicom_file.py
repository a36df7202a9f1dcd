"""Bytes of a DICOM file -> its elements and its pixel data, also where the end of the file or a tag is amiss.

pydicom parses the elements. Where the pixel data begins is asked of its parser rather than searched for: the four bytes
of the tag also occur in icons, documents and compressed streams. Fragments are walked by their lengths, so that a
missing delimiter at the end of the file, or its bytes within a stream, do no harm (PS3.5, A.4).
"""

import dataclasses
import io
import struct
from typing import Any

from data_pipelines.images.dicom_body import Body, body_of
from data_pipelines.images.dicom_streams import BASELINE, Stream, same_family, stream_of, with_plain_planes
from medslip_jax.errors import InputError

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_PIXEL_DATA, _FLOATS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_CUT = "the DICOM file ends within its pixel data; get the file again"


@dataclasses.dataclass
class DicomFile:
    """A file with one pixel data element.

    Attributes:
      dataset: pydicom's, with PixelData and a transfer syntax that fit each other.
      little_endian: of look-up tables that are bytes.
      stream: of a compressed frame, None for plain pixels or where its header says nothing.
      notes: what was amiss and is mended.
      guessed: keywords of elements that were missing and have a value by now.
    """

    dataset: Any
    little_endian: bool
    stream: Stream | None
    notes: list[str]
    guessed: set[str] = dataclasses.field(default_factory=set)


def open_dicom(data: bytes) -> DicomFile:
    """Reads the elements and finds the pixel data.

    Raises:
      InputError: no image in it, cut short, or a transfer syntax that neither header nor stream tells.
    """
    from pydicom.filereader import read_dataset

    body = body_of(data)
    file = io.BytesIO(body.data)
    dataset = read_dataset(
        file, body.implicit, body.little_endian, stop_when=lambda tag, vr, length: tag in (_PIXEL_DATA, *_FLOATS)
    )
    start = file.tell()
    numbers = struct.unpack_from("<HH" if body.little_endian else ">HH", body.data[start : start + 4].ljust(4, b"\0"))
    tag = numbers[0] << 16 | numbers[1]
    if tag in _FLOATS:
        raise InputError(f"DICOM of floating-point pixels ({_class_of(dataset, body)}); export it with 16 bits")
    if tag != _PIXEL_DATA:
        what = _class_of(dataset, body)
        also = ", or get it again if it should have one" if "Image Storage" in what else ""
        said = f"no image in it, DICOM without pixel data ({what}); leave it out{also}"
        raise InputError(said, kind="DICOM without pixels")
    return _with_pixels(dataset, body, start)


def _with_pixels(dataset, body: Body, start: int) -> DicomFile:
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate

    representation, length, at = _element(body, start)
    value = body.data[at:] if length == _UNDEFINED else body.data[at : at + length]
    encapsulated = length == _UNDEFINED or (value.startswith(_ITEM) and _is_encapsulated(body.declared) is not False)
    notes: list[str] = []
    stream = None
    if encapsulated:
        frame = _frame(value, notes)
        stream = stream_of(frame)
        syntax = _syntax(body.declared, stream, notes)
        if stream and stream.samples == 3 and stream.syntax == BASELINE:
            frame = with_plain_planes(frame)
        value, representation = encapsulate([frame]), "OB"
    else:
        if len(value) < length - 1:  # a byte of padding is no loss
            raise InputError(_CUT)
        syntax = _plain_syntax(body, notes)
    dataset.add_new(_PIXEL_DATA, representation, value)
    dataset["PixelData"].is_undefined_length = encapsulated
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return DicomFile(dataset, body.little_endian, stream, notes)


def _element(body: Body, start: int) -> tuple[str, int, int]:
    """VR, length and place of the value of the pixel data element that begins there."""
    head, order = body.data[start : start + 12], "<" if body.little_endian else ">"
    try:
        if head[4:6] in (b"OB", b"OW", b"UN"):
            (length,) = struct.unpack_from(f"{order}I", head, 8)
            return head[4:6].decode(), length, start + 12
        (length,) = struct.unpack_from(f"{order}I", head, 4)
    except struct.error as error:
        raise InputError(_CUT) from error
    return "OW", length, start + 8


def _frame(value: bytes, notes: list[str]) -> bytes:
    """The fragments of the one frame, put together.

    Raises:
      InputError: the file ends within it. Where only the delimiter is missing, this is a note.
    """
    parts, at = [], 0
    while value[at : at + 4] == _ITEM and len(value) >= at + 8:
        (length,) = struct.unpack_from("<I", value, at + 4)
        parts.append(value[at + 8 : at + 8 + length])
        at += 8 + length
        if length % 2 and value[at + 1 : at + 5] in (_ITEM, _DELIMITER):  # padded, but not counted
            at += 1
    frame = b"".join(parts[1:]) or b"".join(parts)  # the first item is a table of offsets
    if value[at : at + 4] == _DELIMITER:
        return frame
    stream = stream_of(frame)
    ended = stream is not None and stream.rows > 0 and stream.ended
    if (at > len(value) and not ended) or not frame or (stream is not None and not stream.ended):
        raise InputError(_CUT)
    notes.append("the delimiter after its pixel data is missing; the image is whole")
    return frame


def _syntax(declared: str, stream: Stream | None, notes: list[str]) -> str:
    """Of a compressed frame: what is declared, unless the stream is something else."""
    known = _is_encapsulated(declared)
    if known and (stream is None or same_family(declared, stream.syntax) or not _is_picture(declared)):
        return declared
    if stream is None:
        said = f"transfer syntax {declared}" if declared else "no TransferSyntaxUID (0002,0010)"
        raise InputError(f"{said}, and its compressed pixels are of no known kind; export it again, uncompressed")
    said = f"says {_name(declared)}" if declared else "states no TransferSyntaxUID (0002,0010)"
    notes.append(f"the header {said}; by its stream it is {_name(stream.syntax)}")
    return stream.syntax


def _plain_syntax(body: Body, notes: list[str]) -> str:
    """Of uncompressed pixels: as the data set is written."""
    found = IMPLICIT if body.implicit else EXPLICIT if body.little_endian else BIG_ENDIAN
    if not body.declared:
        notes.append(f"the header states no TransferSyntaxUID (0002,0010); it is written as {_name(found)}")
    elif _is_encapsulated(body.declared) is None:
        raise InputError(f"its transfer syntax {body.declared} is none of the standard's; export it uncompressed")
    elif _is_encapsulated(body.declared):
        notes.append(f"the header says {_name(body.declared)}, but its pixels are not compressed")
    return found


def _is_encapsulated(syntax: str) -> bool | None:
    """None for what is no transfer syntax of the standard."""
    from pydicom.uid import UID

    uid = UID(syntax)
    return None if uid.is_private or not uid.is_transfer_syntax else uid.is_encapsulated


def _is_picture(syntax: str) -> bool:
    """Whether `stream_of` knows the kind: video is not for it to judge."""
    return same_family(syntax, syntax)


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return UID(syntax).name


def _class_of(dataset, body: Body) -> str:
    """The kind of object in words."""
    found = dataset.get("SOPClassUID") or body.meta.get("MediaStorageSOPClassUID")
    return getattr(found, "name", "of no stated class")
