"""The one image reader: JPEG, PNG (8 and 16 bit) and DICOM -> grey uint8, and the encoder of what is stored.

`ImagePolicy` says what the reader does where files leave a choice, `checks.py` what is odd about a picture.
Pillow reads what users bring, as it refuses truncated files; OpenCV decodes what we stored ourselves, as it
is twice as fast and the loader's time goes there.
"""

import dataclasses
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data_pipelines.images.checks import colour_share
from data_pipelines.images.dicom import dicom_picture
from data_pipelines.images.dicom_body import is_dicom
from data_pipelines.images.messages import caught
from data_pipelines.images.policy import ImagePolicy
from medslip_jax.errors import InputError

_APPLE_DOUBLE = b"\x00\x05\x16\x07"  # RFC 1740, what macOS writes beside a file on foreign disks
_JPEG_START, _JPEG_END, _PNG_START, _PNG_END = b"\xff\xd8\xff", b"\xff\xd9", b"\x89PNG\r\n\x1a\n", b"IEND"
# Sixteen bits below it are as a rule those of a detector of 10 to 14 bits, written as they are.
_FEWER_BITS = 2**14
# A radiograph is far from it; a strip of two pixels, scaled up, would not fit into memory or a JPEG (65500 pixels).
_MAX_ASPECT = 16


@dataclasses.dataclass(frozen=True)
class Reading:
    """A picture: `grey` uint8 (H, W), 0 black .. 255 white (bone bright); `colour` the share, 0 .. 1, of its file's
    pixels that are not grey, for `checks.suspicions`; `notes` what was amiss in the file and is mended, or what a
    library said of it."""

    grey: np.ndarray
    colour: float = 0.0
    notes: tuple[str, ...] = ()


def read_grey(source: str | Path | bytes, *, name: str = "", policy: ImagePolicy = ImagePolicy()) -> np.ndarray:
    """Any supported image -> uint8 (H, W); `read_image` without the share of colour."""
    return read_image(source, name=name, policy=policy).grey


def read_image(source: str | Path | bytes, *, name: str = "", policy: ImagePolicy = ImagePolicy()) -> Reading:
    """Any supported image, told by its bytes and not by its name.

    Colour becomes ITU-R 601 luma, transparency lies on black, a palette is looked up, EXIF rotation is
    applied, sixteen bits are scaled and never clipped. Of DICOM see `dicom.read_dicom`.

    Args:
      source: a path, or the file's bytes.
      name: what an error calls the image; the path by default.
      policy: what to do where files leave a choice.

    Raises:
      InputError: missing, truncated, corrupt or unsupported file; the message names it.
    """
    name = name or ("image" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_bytes(source, name=name)
    if is_dicom(data):
        picture = dicom_picture(data, name=name, policy=policy)
        pixels, notes = picture.pixels, picture.notes
    else:
        with caught() as said:
            read = _read_picture(data, name=name, policy=policy)
        pixels, notes = read.pixels, (*read.notes, *said)
    colour = 0.0
    if pixels.ndim == 3:
        colour, pixels = colour_share(pixels), np.asarray(Image.fromarray(pixels).convert("L"))
    if policy.polarity == "inverted":
        pixels = 255 - pixels
    return Reading(equalise_as_released(pixels) if policy.equalise == "released_rsna" else pixels, colour, notes)


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
    """uint8 (H, W) -> JPEG bytes of that quality (1 .. 100), or lossless PNG bytes with kind="png" or, for an image of
    0 and 255 only, kind="mask": one bit a pixel, a third of the size.

    Raises:
      InputError: another type or shape, an unknown kind, or an image that the format cannot hold (JPEG: a side
        of more than 65500 pixels).
    """
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise InputError(f"cannot encode an image of {image.dtype} {image.shape}; expected uint8 (H, W)")
    settings = {
        "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]),
        "png": (".png", []),
        "mask": (".png", [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, 0]),
    }
    if kind not in settings:
        raise InputError(f"kind={kind!r}: one of {', '.join(settings)}")
    suffix, parameters = settings[kind]
    done, data = cv2.imencode(suffix, image, parameters)
    if not done:
        raise InputError(f"an image of {image.shape} does not fit into a {kind} file; make it smaller")
    return data.tobytes()


def fit(image: np.ndarray, size: int, *, policy: ImagePolicy = ImagePolicy()) -> np.ndarray:
    """Scales uint8 (H, W) as `policy.resize` says: `resize_short_side` or `squash`."""
    return squash(image, size) if policy.resize == "squash" else resize_short_side(image, size)


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


def equalise_as_released(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) -> uint8 with an even histogram, number for number as the released RSNA reader (SPEC 7).

    Which is scikit-image's `equalize_hist` of image / 255 with its 256 bins from the darkest to the brightest pixel,
    times 255, the fraction cut off. Example: pixels 0, 10, 10, 20. Up to bin 127 the cumulative share is 1/4, from bin
    128, which starts at 10, to bin 254 it is 3/4, then 1; between the middles of two bins it is interpolated: at 10,
    where two bins meet, 1/2 -> 63, 127, 127, 255.
    """
    counts = np.bincount(image.ravel(), minlength=256)
    present = np.flatnonzero(counts)
    levels = np.arange(256) / 255.0
    histogram, edges = np.histogram(
        levels[present], bins=256, range=(levels[present[0]], levels[present[-1]]), weights=counts[present]
    )
    shares = histogram.cumsum() / histogram.sum()
    table = np.interp(levels, (edges[1:] + edges[:-1]) / 2, shares)
    return (255 * table).astype(np.uint8)[image]


@dataclasses.dataclass(frozen=True)
class _Picture:
    """uint8 (H, W), or (H, W, 3) if it is in colour."""

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def _read_picture(data: bytes, *, name: str, policy: ImagePolicy) -> _Picture:
    """A JPEG or PNG."""
    if data.startswith(_APPLE_DOUBLE):
        raise InputError(f"{name}: no image, but what macOS keeps beside one (._NAME); leave it out")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            _check_size(image)
            image.load()
            return _flat(ImageOps.exif_transpose(image), policy.sixteen_bit)
    except UnidentifiedImageError as error:  # whose own text has an address in memory
        said = "it does not begin like a JPEG or PNG, and DICM is not at byte 128"
        raise InputError(f"{name}: not a readable JPEG, PNG or DICOM image ({said})") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name}: not a readable JPEG, PNG or DICOM image ({said})") from error


def _check_size(image: Image.Image) -> None:
    """Pillow warns from here on, and refuses twice as many pixels."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise Image.DecompressionBombError(f"Image size ({image.width * image.height} pixels) exceeds limit of {most}")


def _flat(image: Image.Image, sixteen_bit: str) -> _Picture:
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image)
        highest = int(pixels.max())
        unscaled = sixteen_bit == "full" and 0 < highest < _FEWER_BITS
        said = f"its 16 bits hold no value above {highest}, almost black: --sixteen_bit stretch spreads them"
        return _Picture(_to_eight_bits(pixels, sixteen_bit), (said,) if unscaled else ())
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return _Picture(np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")))


def _to_eight_bits(pixels: np.ndarray, sixteen_bit: str) -> np.ndarray:
    pixels = pixels.astype(np.float32)
    low, high = (0.0, 65535.0) if sixteen_bit == "full" else (float(pixels.min()), float(pixels.max()))
    return np.rint((pixels - low) * (255.0 / max(high - low, 1e-6))).clip(0, 255).astype(np.uint8)
