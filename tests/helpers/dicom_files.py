"""Real DICOM files, written by pydicom for the tests of the reader; one picture in many ways, `PIXELS`."""

import io
import struct

import numpy as np
import pydicom
from PIL import Image
from places import ROOT
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from data_pipelines.images.dicom import read_dicom


def dicom_bytes(
    pixels,
    *,
    encoded: tuple[bytes, str] | None = None,
    compress: str = "",
    syntax: str = uid.ExplicitVRLittleEndian,
    **tags,
) -> bytes:
    """A computed radiograph of `pixels` (H, W) or (H, W, 3); its type gives allocated bits and sign.

    Args:
      encoded: (frame, transfer syntax) to hold in place of the plain pixels.
      compress: transfer syntax that pydicom encodes the pixels with.
      syntax: transfer syntax of a file of plain pixels.
      **tags: DICOM keywords; None leaves one out.
    """
    pixels = np.asarray(pixels)
    bits = 8 * pixels.dtype.itemsize
    dicom = Dataset()
    dicom.file_meta = FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dicom.SOPClassUID, dicom.SOPInstanceUID = uid.ComputedRadiographyImageStorage, "1.2.3"
    dicom.Rows, dicom.Columns = pixels.shape[:2]
    dicom.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dicom.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dicom.PlanarConfiguration = 0
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit = bits, bits, bits - 1
    dicom.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.astype(
        pixels.dtype.newbyteorder("<" if dicom.file_meta.TransferSyntaxUID.is_little_endian else ">")
    ).tobytes()
    dicom.PixelData = data + bytes(len(data) % 2)
    dicom["PixelData"].VR = "OB" if bits == 8 else "OW"
    if compress:
        dicom.compress(compress)
    if encoded:
        dicom.PixelData, dicom.file_meta.TransferSyntaxUID = encapsulate([encoded[0]]), encoded[1]
        dicom["PixelData"].VR, dicom["PixelData"].is_undefined_length = "OB", True
    for tag, value in tags.items():
        if value is None:
            delattr(dicom, tag)
        else:
            setattr(dicom, tag, value)
    if "BitsStored" in tags:
        dicom.HighBit = tags["BitsStored"] - 1
    file = io.BytesIO()
    dicom.save_as(file, enforce_file_format=True)
    return file.getvalue()


def table(entries, *, first: int, bits: int) -> list[Dataset]:
    """A look-up table sequence of 16-bit entries."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", list(entries))
    return [item]


def frame(pixels: np.ndarray, kind: str, **settings) -> bytes:
    """The bytes that Pillow encodes an image to: kind "JPEG" or "JPEG2000"."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **settings)
    return file.getvalue()


STREAMS = ROOT / "tests" / "data_pipelines" / "images" / "streams"
# What the streams in that folder hold (made with imagecodecs 2026.3.6), 12 bits; those called "overlay" have bit 15 set
# along the diagonal.
ROW, COLUMN = np.indices((32, 32))
PIXELS = ((ROW * 97 + COLUMN * 31) % 4096).astype(np.uint16)
OVERLAY = PIXELS | np.where(np.abs(ROW - COLUMN) < 3, 0x8000, 0).astype(np.uint16)
GREY = read_dicom(dicom_bytes(PIXELS, BitsStored=12), name="plain")
NO_SYNTAX = "states no TransferSyntaxUID"


def streams(kind: str) -> dict[str, tuple[bytes, str]]:
    """transfer syntax -> (frame of that kind, its UID), for every one that a plug-in here reads."""
    pixels = {"plain": PIXELS, "overlay": OVERLAY}[kind]
    made = {"JPEG 2000": (frame(pixels, "JPEG2000", no_jp2=True), uid.JPEG2000Lossless)}
    named = {"jpeg_lossless": uid.JPEGLossless, "jpeg_ls": uid.JPEGLSLossless, "htj2k": uid.HTJ2KLossless}
    for name, syntax in named.items():
        if get_decoder(syntax).is_available:
            made[name] = ((STREAMS / f"{name}_{kind}.bin").read_bytes(), syntax)
    return made


def without(data: bytes, *keywords: str) -> bytes:
    """The same file without these elements."""
    dicom = pydicom.dcmread(io.BytesIO(data))
    for keyword in keywords:
        delattr(dicom, keyword)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dicom, enforce_file_format=False)
    return file.getvalue()


def without_syntax(data: bytes) -> bytes:
    """Without TransferSyntaxUID, group length corrected."""
    dicom = pydicom.dcmread(io.BytesIO(data))
    text = dicom.file_meta.TransferSyntaxUID
    text = text.encode() + b"\0" * (len(text) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(text)) + text
    assert data.count(element) == 1
    length = struct.unpack_from("<I", data, 140)[0] - len(element)
    data = data.replace(element, b"")
    return data[:140] + struct.pack("<I", length) + data[144:]


def lut(first: int, *, bits: int, representation: str, packed: bool = False) -> list[Dataset]:
    """A rising table of 4096 entries whose first input value is written with that VR."""
    entries = np.arange(4096) >> (12 - bits)
    item = Dataset()
    if representation == "US":
        item.add_new("LUTDescriptor", "US", [4096, first & 0xFFFF, bits])
    else:
        item.add_new("LUTDescriptor", "SS", [4096, first, bits])
    data = entries.astype(np.uint8 if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", data)
    return [item]
