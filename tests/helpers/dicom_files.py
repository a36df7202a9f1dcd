"""Real DICOM files, written by pydicom for the tests of the reader."""

import io

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate


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
