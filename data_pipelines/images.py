"""The one image reader: JPEG, PNG (8 and 16 bit) and DICOM -> grey uint8, and the encoder of what is stored.

Pillow reads what users bring, as it refuses truncated files; OpenCV decodes what we stored ourselves, as it
is twice as fast and the loader's time goes there.
"""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from medslip_jax.errors import InputError

_JPEG_START, _JPEG_END, _PNG_START, _PNG_END = b"\xff\xd8\xff", b"\xff\xd9", b"\x89PNG\r\n\x1a\n", b"IEND"
SIXTEEN_BIT = ("full", "stretch")
# A radiograph is far from it; a strip of two pixels, scaled up, would not fit into memory or a JPEG (65500 pixels).
_MAX_ASPECT = 16


def read_grey(source: str | Path | bytes, *, name: str = "", sixteen_bit: str = "full") -> np.ndarray:
    """Any supported image -> uint8 (H, W), 0 black .. 255 white (bone bright).

    Colour becomes ITU-R 601 luma, transparency lies on black, a palette is looked up, EXIF rotation is
    applied. Sixteen bits are scaled, never clipped: "full" maps 0 .. 65535 to 0 .. 255 (PNG's own
    definition); "stretch" maps the image's own minimum .. maximum, for files that hold 12-bit values
    unscaled. DICOM: rescale slope and intercept, the first VOI window if there is one (else the image's own
    range), MONOCHROME1 inverted.

    Args:
      source: a path, or the file's bytes.
      name: what an error calls the image; the path by default.
      sixteen_bit: "full" or "stretch".

    Raises:
      InputError: missing, truncated, corrupt or unsupported file; the message names it.
    """
    if sixteen_bit not in SIXTEEN_BIT:
        raise InputError(f"sixteen_bit={sixteen_bit!r}: one of {', '.join(SIXTEEN_BIT)}")
    name = name or ("image" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_bytes(source, name=name)
    if data[128:132] == b"DICM":
        return _read_dicom(data, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                image.load()
                return _to_grey(ImageOps.exif_transpose(image), sixteen_bit)
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise InputError(f"{name}: not a readable JPEG, PNG or DICOM image ({_first_line(error)})") from error


def read_bytes(path: str | Path, *, name: str = "") -> bytes:
    """The bytes of a file; `InputError` with `name` (the path by default) if it cannot be read or is empty."""
    name = name or str(path)
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{name}: cannot read the image ({getattr(error, 'strerror', None) or error})") from error
    if not data:
        raise InputError(f"{name}: the image file is empty")
    return data


def decode_grey(data: bytes, *, name: str) -> np.ndarray:
    """Bytes of a stored grey JPEG or PNG -> uint8 (H, W); `InputError` naming `name` if damaged.

    OpenCV fills the missing part of a truncated file with grey, so the end marker is looked for first.
    """
    tail = data[-16:]
    complete = (data.startswith(_JPEG_START) and _JPEG_END in tail) or (
        data.startswith(_PNG_START) and _PNG_END in tail
    )
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if complete else None
    if image is None:
        raise InputError(f"{name}: image is corrupt or truncated ({len(data)} bytes); build the data again")
    return image


def encode_grey(image: np.ndarray, *, quality: int = 95, kind: str = "jpeg") -> bytes:
    """uint8 (H, W) -> JPEG bytes of that quality (1 .. 100), or lossless PNG bytes with kind="png".

    Raises:
      InputError: another type or shape, an unknown kind, or an image that the format cannot hold (JPEG: a side
        of more than 65500 pixels).
    """
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise InputError(f"cannot encode an image of {image.dtype} {image.shape}; expected uint8 (H, W)")
    settings = {"jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]), "png": (".png", [])}
    if kind not in settings:
        raise InputError(f"kind={kind!r}: one of {', '.join(settings)}")
    suffix, parameters = settings[kind]
    done, data = cv2.imencode(suffix, image, parameters)
    if not done:
        raise InputError(f"an image of {image.shape} does not fit into a {kind} file; make it smaller")
    return data.tobytes()


def resize_short_side(image: np.ndarray, size: int) -> np.ndarray:
    """Scales uint8 (H, W) so that min(H, W) = size, aspect kept: (512, 640) -> (256, 320) for size 256.

    Raises:
      InputError: one side is more than 16 times the other.
    """
    height, width = image.shape
    short = min(height, width)
    if max(height, width) > _MAX_ASPECT * short:
        raise InputError(f"image of {width} x {height} pixels: one side is over {_MAX_ASPECT} times the other; crop it")
    return resize(image, height=round(height * size / short), width=round(width * size / short))


def squash(image: np.ndarray, size: int) -> np.ndarray:
    """Scales uint8 (H, W) to (size, size) whatever the aspect, as released evaluation does (SPEC 5)."""
    return resize(image, height=size, width=size)


def resize(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Bicubic with anti-aliasing (Pillow; OpenCV's bicubic aliases when it shrinks): uint8 in and out."""
    if image.shape == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _to_grey(image: Image.Image, sixteen_bit: str) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _to_eight_bits(np.asarray(image), sixteen_bit)
    if image.mode == "P":
        image = image.convert("RGBA")
    if image.mode in ("LA", "PA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("L"))


def _to_eight_bits(pixels: np.ndarray, sixteen_bit: str) -> np.ndarray:
    pixels = pixels.astype(np.float32)
    low, high = (0.0, 65535.0) if sixteen_bit == "full" else (float(pixels.min()), float(pixels.max()))
    return np.rint((pixels - low) * (255.0 / max(high - low, 1e-6))).clip(0, 255).astype(np.uint8)


def _read_dicom(data: bytes, name: str) -> np.ndarray:
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    try:
        dicom = pydicom.dcmread(io.BytesIO(data))
        pixels = apply_voi_lut(apply_modality_lut(dicom.pixel_array, dicom), dicom)
        inverted = dicom.PhotometricInterpretation == "MONOCHROME1"
    except Exception as error:  # pydicom and its decoders raise any class, NotImplementedError and KeyError included
        raise InputError(f"{name}: not a readable DICOM image ({_first_line(error)})") from error
    if pixels.ndim != 2:
        raise InputError(f"{name}: DICOM pixels of shape {pixels.shape}; expected one grey frame (H, W)")
    grey = _to_eight_bits(pixels, "stretch")
    return 255 - grey if inverted else grey


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
