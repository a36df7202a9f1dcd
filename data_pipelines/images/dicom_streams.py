"""What a compressed frame says of itself: JPEG, JPEG-LS, JPEG 2000 (HT too) or RLE, size, precision, colour.

Headers only; nothing is decoded. ISO/IEC 10918-1 (B.2), 14495-1 (C.2), 15444-1 (A.5, A.6), 15444-15 (A.3); DICOM PS3.5,
annex G for RLE.
"""

import dataclasses
import struct

BASELINE, EXTENDED, LOSSLESS, LOSSLESS_SV1 = (f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 57, 70))
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K = (f"1.2.840.10008.1.2.4.{last}" for last in (201, 202, 203))
RLE = "1.2.840.10008.1.2.5"
FAMILIES = (
    (BASELINE, EXTENDED, LOSSLESS, LOSSLESS_SV1),
    (JPEG_LS, JPEG_LS_NEAR),
    (J2K_LOSSLESS, J2K),
    (HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K),
    (RLE,),
)
_LOSSY = (BASELINE, EXTENDED, JPEG_LS_NEAR, J2K, HTJ2K)
_ADOBE_AS_IS = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # its marker, with transform 0
_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


@dataclasses.dataclass(frozen=True)
class Stream:
    """A compressed frame by its header.

    Attributes:
      syntax: UID of the transfer syntax that it fits.
      rows, columns, samples, precision: 0 where it does not say (RLE).
      signed: JPEG 2000 alone says; None elsewhere.
      colour: "rgb" or "ybr" where markers, names or sampling of three components leave no doubt, else "".
      ended: whether its end marker is there; RLE has none and counts as ended.
    """

    syntax: str
    rows: int = 0
    columns: int = 0
    samples: int = 0
    precision: int = 0
    signed: bool | None = None
    colour: str = ""
    ended: bool = True

    @property
    def lossy(self) -> bool:
        return self.syntax in _LOSSY


def stream_of(data: bytes) -> Stream | None:
    """The header of a frame; None if it is none of these kinds, or damaged."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        start = data.find(b"\xff\x4f\xff\x51", 0, 4096)  # behind the boxes of a JP2 file, which DICOM does not allow
        if start == 0 or data[4:8] == b"jP  ":
            return _jpeg_2000(data, start)
    except (struct.error, IndexError):
        return None
    return Stream(RLE) if _is_rle(data) else None


def with_plain_planes(data: bytes) -> bytes:
    """A JPEG of three components with markers that ask for no conversion of colour, so that decoders give its planes.

    libjpeg, and with it Pillow, converts where JFIF's or Adobe's marker says YCbCr, and fails to where neither is there
    and the components are called R, G, B.
    """
    kept, at = [data[:2], _ADOBE_AS_IS], 2
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        length = 2 if data[at + 1] in _ALONE else 1 if data[at + 1] == 0xFF else 2 + _length(data, at)
        if data[at + 1] not in (0xE0, 0xEE):
            kept.append(data[at : at + length])
        at += length
    return b"".join([*kept, data[at:]])


def _length(data: bytes, at: int) -> int:
    return struct.unpack_from(">H", data, at + 2)[0]


def same_family(first: str, second: str) -> bool:
    """Whether a decoder of one of these transfer syntaxes reads the other."""
    return any(first in family and second in family for family in FAMILIES)


def _jpeg(data: bytes) -> Stream | None:
    frame, kind, colour, at = b"", 0, "", 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:  # a fill byte, or no segment
            at += 1 if marker == 0xFF else 2
            continue
        length = _length(data, at)
        segment = data[at + 4 : at + 2 + length]
        if marker in _FRAMES:
            if frame:
                return None
            frame, kind = segment, marker
        elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) > 11:
            colour = "ybr" if segment[11] == 1 else "rgb"
        elif marker == 0xE0 and segment.startswith(b"JFIF"):
            colour = colour or "ybr"
        elif marker == 0xDA:
            return _jpeg_frame(frame, kind, scan=segment, colour=colour, ended=_END in data[-64:])
        at += 2 + length
    return None


def _jpeg_frame(frame: bytes, kind: int, *, scan: bytes, colour: str, ended: bool) -> Stream | None:
    precision, rows, columns, samples = struct.unpack_from(">BHHB", frame)
    parameter = scan[1 + 2 * scan[0]]  # JPEG lossless: the predictor; JPEG-LS: how near
    if kind == 0xF7:
        syntax = JPEG_LS_NEAR if parameter else JPEG_LS
    elif kind in (0xC3, 0xC7, 0xCB, 0xCF):
        syntax = LOSSLESS_SV1 if parameter == 1 else LOSSLESS
    else:
        syntax = EXTENDED if precision > 8 else BASELINE
    if samples == 3:
        names, sampling = frame[6::3][:3], set(frame[7::3][:3])
        colour = "rgb" if names in (b"RGB", b"rgb") else colour or ("ybr" if len(sampling) > 1 else "")
    return Stream(syntax, rows, columns, samples, precision, colour=colour, ended=ended)


def _jpeg_2000(data: bytes, start: int) -> Stream | None:
    capabilities, right, bottom, left, top = struct.unpack_from(">H4I", data, start + 6)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    (length,) = struct.unpack_from(">H", data, start + 4)
    at, high_throughput = start + 4 + length, bool(capabilities & 0x4000)
    while data[at] == 0xFF and data[at + 1] != 0x90:  # up to the first tile
        marker, length = data[at + 1], _length(data, at)
        high_throughput = high_throughput or marker == 0x50
        if marker == 0x52:
            reversible = data[at + 13] == 1
            if high_throughput:
                syntax = HTJ2K_LOSSLESS if reversible else HTJ2K
            else:
                syntax = J2K_LOSSLESS if reversible else J2K
            precision, ended = (depth & 0x7F) + 1, _END in data[-64:]
            return Stream(syntax, bottom - top, right - left, samples, precision, bool(depth & 0x80), ended=ended)
        at += 2 + length
    return None


def _is_rle(data: bytes) -> bool:
    if len(data) < 64:
        return False
    count, *offsets = struct.unpack_from("<16I", data)
    used = offsets[:count]
    return 1 <= count <= 15 and used[0] == 64 and used == sorted(used) and not any(offsets[count:])
