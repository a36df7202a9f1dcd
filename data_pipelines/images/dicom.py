"""The pixels of one DICOM file -> uint8. The only file that knows pydicom."""

import io
import warnings

import numpy as np

from data_pipelines.images.policy import ImagePolicy
from medslip_jax.errors import InputError

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
# Group 7FE0, element 0010, in either byte order.
_PIXEL_TAGS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
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


def read_dicom(data: bytes, *, name: str, policy: ImagePolicy = ImagePolicy()) -> np.ndarray:
    """Bytes of a DICOM file -> uint8 (H, W), or (H, W, 3) RGB if it is in colour.

    Grey goes through the standard's steps in its order: modality table or rescale slope and intercept; the first VOI
    table or window (`policy.voi`), whose ends become 0 and 255; MONOCHROME1 inverted. Padding (Pixel Padding Value,
    Range Limit) does not count for the image's own range and becomes black. Presentation LUT Shape is not looked at, as
    it repeats what MONOCHROME1 says.

    Raises:
      InputError: a damaged file, none or several images in it, or pixels that no installed plug-in decodes.
    """
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on tags that are not used here
        try:
            dicom = pydicom.dcmread(io.BytesIO(data))
            if "PixelData" not in dicom and any(tag in data for tag in _PIXEL_TAGS):
                # pydicom drops what it cannot read to the end, without an error.
                raise InputError("the DICOM file ends within its pixel data; get the file again")
            _check(dicom)
            pixels = _decode(dicom)
            return _grey(pixels, dicom, policy) if dicom.PhotometricInterpretation in _GREY else _rgb(pixels, dicom)
        except InputError as error:
            raise InputError(f"{name}: {error}", kind=error.kind) from error
        except Exception as error:  # pydicom and its plug-ins raise any class, AttributeError and KeyError included
            # Where plug-ins failed, the last line has the cause.
            said = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise InputError(f"{name}: not a readable DICOM image ({said}); get the file again") from error


def _check(dicom) -> None:
    if "PixelData" not in dicom:
        what = getattr(dicom.get("SOPClassUID"), "name", "of no stated class")
        raise InputError(f"DICOM without pixel data ({what}); leave it out", kind="DICOM without pixels")
    frames = int(dicom.get("NumberOfFrames") or 1)
    if frames > 1:
        raise InputError(f"DICOM with {frames} frames, expected one image; export the frame that you mean")
    kind = dicom.get("PhotometricInterpretation", "none")
    if kind not in _GREY + _COLOUR:
        raise InputError(f"DICOM of photometric interpretation {kind}; export it as MONOCHROME2")
    bits = dicom.get("BitsStored")
    if bits not in range(1, 17):
        raise InputError(f"DICOM of {bits} bits a pixel, expected 1 .. 16; export it with 16")


def _decode(dicom) -> np.ndarray:
    """Stored values (H, W), or colour (H, W, 3) as RGB."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dicom.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return pixel_array(dicom)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(f"its pixels are {syntax.name}, which nothing here decodes; export it uncompressed") from error
    plugins = [plugin for plugin in _ORDER if plugin in decoder.available_plugins]
    if syntax == _JPEG_EXTENDED and dicom.BitsStored > 8:  # which Pillow and GDCM cannot, whatever they announce
        plugins = [plugin for plugin in plugins if plugin == "pylibjpeg"]
        available = bool(plugins)
    else:
        available = decoder.is_available
    if not available:
        needed = _PLUGINS.get(syntax, "export it uncompressed")
        raise InputError(f"its pixels are {syntax.name}, which needs a plug-in: {needed}")
    return pixel_array(dicom, decoding_plugin=plugins[0] if plugins else "")


def _grey(pixels: np.ndarray, dicom, policy: ImagePolicy) -> np.ndarray:
    """Stored values -> uint8, through one table with an entry for each of the 256 or 65536 bit patterns."""
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        raise InputError(f"DICOM pixels of {pixels.dtype} {pixels.shape}, expected 8 or 16 bits (H, W); export it so")
    unsigned = np.dtype(f"u{pixels.dtype.itemsize}")
    stored = np.arange(np.iinfo(unsigned).max + 1, dtype=unsigned).view(pixels.dtype).astype(np.int64)
    patterns = np.ascontiguousarray(pixels).view(unsigned)
    padding = _padding(stored, dicom)
    used = np.bincount(patterns.ravel(), minlength=len(stored)) > 0
    shown = _voi(_modality(stored, dicom), dicom, policy, stored=stored, used=used & ~padding)
    if dicom.PhotometricInterpretation == "MONOCHROME1" and policy.polarity == "tagged":
        shown = 1 - shown
    return np.where(padding, 0, np.rint(255 * shown)).astype(np.uint8)[patterns]


def _padding(stored: np.ndarray, dicom) -> np.ndarray:
    """Bool: which stored values are padding."""
    first = dicom.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = dicom.get("PixelPaddingRangeLimit")
    # Modulo: a negative value may be written as the unsigned one of the same bits.
    ends = [stored[int(value) % len(stored)] for value in (first, first if last is None else last)]
    return (stored >= min(ends)) & (stored <= max(ends))


def _modality(stored: np.ndarray, dicom) -> np.ndarray:
    tables = dicom.get("ModalityLUTSequence")
    if tables:
        return _look_up(stored, tables[0], dicom)
    slope, intercept = (dicom.get(tag) for tag in ("RescaleSlope", "RescaleIntercept"))
    if slope is None or intercept is None:
        return stored.astype(np.float64)
    slope, intercept = float(slope), float(intercept)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise InputError(f"DICOM of RescaleSlope {slope:g}, RescaleIntercept {intercept:g} has no image; repair it")
    return stored * slope + intercept


def _voi(values: np.ndarray, dicom, policy: ImagePolicy, *, stored: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Modality values -> 0 .. 1. `used` marks those whose range is the image's own."""
    tables, window = dicom.get("VOILUTSequence"), _window(dicom)
    if policy.voi == "none":
        tables = window = None
    if tables and not (window and policy.voi == "window"):
        values = _look_up(values, tables[0], dicom)
        ends = values
    elif window:
        return _windowed(values, *window, str(dicom.get("VOILUTFunction") or "LINEAR").upper())
    elif dicom.BitsStored <= 8:
        lowest = -(2 ** (dicom.BitsStored - 1)) if dicom.PixelRepresentation else 0
        ends = values[(stored >= lowest) & (stored < lowest + 2**dicom.BitsStored)]
    else:
        ends = values[used] if used.any() else values[:1]
    low, high = ends.min(), ends.max()
    return ((values - low) / max(high - low, 1e-9)).clip(0, 1)


def _window(dicom) -> tuple[float, float] | None:
    """(center, width) of the first window that is stated."""
    from pydicom.multival import MultiValue

    values = [dicom.get(tag) for tag in ("WindowCenter", "WindowWidth")]
    center, width = (value[0] if isinstance(value, MultiValue) and value else value for value in values)
    return None if {center, width} & {None, ""} else (float(center), float(width))


def _windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Window center and width -> 0 .. 1 (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError(f"DICOM of VOI LUT function {function}; read it with the image option voi 'none'")
    if not width > (1 if function == "LINEAR" else 0):
        raise InputError(f"DICOM window of width {width:g} leaves no image; read it with the image option voi 'none'")
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (values - center) / width).clip(-500, 500)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return ((values - center) / width + 0.5).clip(0, 1)


def _look_up(values: np.ndarray, item, dicom) -> np.ndarray:
    """Values through a modality or VOI table, whose first and last entry also hold below and above it."""
    entries, first, _ = item.LUTDescriptor
    entries, data = entries or 65536, item.LUTData
    if isinstance(data, bytes):
        order = "<" if dicom.original_encoding[1] else ">"
        data = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * entries else "u1")
    table = np.asarray(data, np.float64)[:entries]
    return table[np.rint(values - first).clip(0, len(table) - 1).astype(np.int64)]


def _rgb(pixels: np.ndarray, dicom) -> np.ndarray:
    """Colour of any depth (H, W, 3), or (H, W) indices of a palette, -> uint8 (H, W, 3)."""
    from pydicom.pixels import apply_color_lut

    bits = dicom.BitsStored
    if dicom.PhotometricInterpretation == "PALETTE COLOR" and pixels.ndim == 2:
        pixels, bits = apply_color_lut(pixels, dicom), dicom.RedPaletteColorLookupTableDescriptor[2]
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"DICOM pixels of shape {pixels.shape}; expected one image (H, W, 3)")
    return np.rint(pixels * (255.0 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
