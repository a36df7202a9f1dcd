"""The pixel data of a DICOM file -> stored values or RGB, with pydicom's decoders.

After any decoder the bits above Bits Stored are masked: they are no part of the pixel and may hold an overlay (PS3.5,
8.1.1); pydicom does so for plain pixels, RLE and JPEG, not for JPEG 2000 and JPEG-LS. What the three planes of a colour
picture hold, the planes tell where the tag and the stream disagree, or the stream says nothing.
"""

import functools

import cv2
import numpy as np

from data_pipelines.images.dicom_file import DicomFile
from data_pipelines.images.messages import caught_prints
from medslip_jax.errors import InputError

# The first that is installed reads, and no other is tried: two decoders of lossy JPEG differ by a grey level, and some
# fill in what a truncated stream lacks, which Pillow refuses.
_ORDER = ("pillow", "pylibjpeg", "gdcm", "pyjpegls")
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_TWELVE_BITS = "convert it (dcmdjpeg of DCMTK), or pip install pylibjpeg pylibjpeg-libjpeg (GPL)"
_EXTRA = "pip install 'medslip_jax[dicom]' or"
# Transfer syntaxes that our requirements do not decode -> what does: JPEG lossless, JPEG-LS, high-throughput JPEG 2000.
_PLUGINS = {
    _JPEG_EXTENDED: _TWELVE_BITS,
    **dict.fromkeys(("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), f"{_EXTRA} python-gdcm"),
    **dict.fromkeys(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), f"{_EXTRA} pyjpegls"),
    **dict.fromkeys(
        ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
        f"{_EXTRA} pylibjpeg pylibjpeg-openjpeg",
    ),
}
# Levels, of 256, that lossy compression may move a plane which is even, or equal to another.
_NEAR = 4
# Per cent of the pixels that are grey in a grey picture; the others are labels in colour.
_MOST = 90


def stored_values(file: DicomFile) -> np.ndarray:
    """Of a grey picture (or a palette's indices): int (H, W), of Bits Stored and the sign that is stated.

    Raises:
      InputError: pixels that no installed plug-in decodes, or of another shape or depth.
    """
    pixels, dataset = _decoded(file), file.dataset
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        raise InputError(f"DICOM pixels of {pixels.dtype} {pixels.shape}, expected 8 or 16 bits (H, W); export it so")
    bits, high = dataset.BitsStored, dataset.HighBit
    if file.stream and file.stream.precision <= high:  # a stream of the stored bits alone holds no others
        high = bits - 1
    if high >= bits:
        file.notes.append(f"HighBit is {high} of {bits} bits stored: the lower bits are left out")
        pixels = pixels >> (high + 1 - bits)
    if "PixelRepresentation" in file.guessed and not dataset.PixelRepresentation:
        half = 2 ** (bits - 1)
        unsigned = pixels.astype(np.int32) & (2 * half - 1)
        if _roughness((unsigned ^ half) - half) < _roughness(unsigned) / 2:
            file.notes.append("its pixels are even as signed values, and are read as such")
            dataset.PixelRepresentation = 1
    return _masked(pixels, file)


def _masked(values: np.ndarray, file: DicomFile) -> np.ndarray:
    """Without the bits above Bits Stored."""
    bits, signed = file.dataset.BitsStored, file.dataset.PixelRepresentation == 1
    lowest = -(2 ** (bits - 1)) if signed else 0
    highest = lowest + 2**bits - 1
    if lowest <= values.min() and values.max() <= highest:
        return values
    values = values.astype(np.int32)
    if file.stream and file.stream.lossy and _overshoots(values, lowest, highest):
        return values.clip(lowest, highest)
    masked = ((values - lowest) & (2**bits - 1)) + lowest
    if values.min() < lowest or values.max() >= 2**bits:  # else negative values without their sign's upper bits
        file.notes.append(f"bits above the {bits} stored ones are masked (an overlay, as a rule)")
    return masked


def _roughness(values: np.ndarray) -> float:
    """Mean step to the next pixel: a picture that is read wrongly has many large ones."""
    steps = (np.abs(np.diff(values.astype(np.int32), axis=axis)) for axis in (0, 1))
    return float(sum(step.mean() if step.size else 0.0 for step in steps))


def _overshoots(values: np.ndarray, lowest: int, highest: int) -> bool:
    """Whether values beyond the highest come of lossy compression at edges, and not of an overlay: they are at most a
    quarter above it, and what lies around them is bright."""
    above = values > highest
    if values.min() < lowest or values.max() - highest > (highest - lowest) // 4:
        return False
    around = cv2.dilate(above.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~above
    return not around.any() or bool(np.median(values[around]) > (lowest + highest) / 2)


def rgb(file: DicomFile) -> np.ndarray:
    """Of a picture in colour: uint8 (H, W, 3).

    Raises:
      InputError: as `stored_values`.
    """
    from pydicom.pixels import apply_color_lut

    dataset = file.dataset
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels, bits = stored_values(file), dataset.RedPaletteColorLookupTableDescriptor[2]
        kind = np.uint8 if dataset.BitsAllocated <= 8 else np.uint16
        return _eight_bits(apply_color_lut(pixels.astype(kind), dataset)[..., :3], bits)
    pixels = _decoded(file)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"DICOM pixels of shape {pixels.shape}; expected one image (H, W, 3)")
    if "PlanarConfiguration" in file.guessed and file.stream is None:
        by_plane = pixels.reshape(3, *pixels.shape[:2]).transpose(1, 2, 0)
        if _roughness(by_plane) < 0.8 * _roughness(pixels):
            file.notes.append("its pixels are even as colour by plane, and are read as such")
            pixels = by_plane
    return _as_rgb(_eight_bits(pixels, dataset.BitsStored), file)


def _eight_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(pixels * (255.0 / (2**bits - 1))).clip(0, 255).astype(np.uint8)


def _as_rgb(planes: np.ndarray, file: DicomFile) -> np.ndarray:
    """uint8 (H, W, 3) as decoded -> RGB.

    A grey picture is told by its planes: three that are equal are RGB; a second and third that are even at 128 are Cb
    and Cr, whatever the tag says. Of others the JPEG stream's markers decide, then the tag.
    """
    from pydicom.pixels import convert_color_space

    tag = file.dataset.PhotometricInterpretation
    tagged = "ybr" if tag in ("YBR_FULL", "YBR_FULL_422") else "rgb"  # YBR_RCT and _ICT are RGB once decoded
    stream = file.stream.colour if file.stream else ""
    differences = np.abs(planes[..., 1:].astype(np.int16) - planes[..., :1]).max(axis=2)
    even = np.abs(planes[..., 1:].astype(np.int16) - 128)
    if np.percentile(differences, _MOST) <= _NEAR:
        found = "rgb"
    elif np.percentile(even, _MOST) <= _NEAR:
        found = "ybr"
    else:
        found = stream or tagged
    if found != tagged and not (found == "rgb" and tagged == "ybr" and stream == "ybr"):
        file.notes.append(f"tagged {tag}, but its pixels are {'RGB' if found == 'rgb' else 'YCbCr'} and read as such")
    return planes if found == "rgb" else convert_color_space(planes, "YBR_FULL", "RGB")


def _decoded(file: DicomFile) -> np.ndarray:
    """What the decoder gives: (H, W) or (H, W, 3), no colour converted and no bit masked."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = file.dataset.file_meta.TransferSyntaxUID
    decode = functools.partial(pixel_array, file.dataset, raw=True, correct_unused_bits=False)
    if not syntax.is_encapsulated:
        return decode()
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(f"its pixels are {syntax.name}, which nothing here decodes; export it uncompressed") from error
    plugins = [plugin for plugin in _ORDER if plugin in decoder.available_plugins]
    if file.stream and file.stream.samples > 1 and file.stream.precision > 8:  # which Pillow makes 8 bits of
        plugins = [plugin for plugin in plugins if plugin != "pillow"] or plugins
    if syntax == _JPEG_EXTENDED and file.dataset.BitsStored > 8:  # which Pillow and GDCM cannot, whatever they announce
        plugins = [plugin for plugin in plugins if plugin == "pylibjpeg"]
        available = bool(plugins)
    else:
        available = decoder.is_available
    if not available:
        needed = _PLUGINS.get(syntax, "export it uncompressed")
        raise InputError(f"its pixels are {syntax.name}, which needs a plug-in: {needed}")
    if plugins[:1] == ["pillow"]:  # which prints nothing and lets go of the lock of Python's threads
        return decode(decoding_plugin="pillow")
    if plugins[:1] == ["gdcm"] and file.stream is None:  # at which it may crash
        raise InputError("not a readable DICOM image (its compressed pixels have no header); get the file again")
    with caught_prints():
        return decode(decoding_plugin=plugins[0] if plugins else "")
