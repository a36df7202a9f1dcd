"""What a page accepts as an X-ray: checks of a file that a stranger may have made, before it is decoded.

In this order: too many bytes, empty, first bytes of another kind of file, more pixels stated than an X-ray has. Only
then the one image reader sees it. Names of files are never trusted, and never looked at for the kind.
"""

import contextlib
import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_pipelines import images
from data_pipelines.images import ImagePolicy, caught, declared_pixels, is_dicom, suspicions
from medslip_jax.errors import InputError

# The largest detectors have 20 million; a file of a few kilobytes can state thousands of millions.
MAX_PIXELS = 50_000_000
_PICTURES = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}
_LONGEST_NAME = 60


@dataclasses.dataclass(frozen=True)
class Upload:
    """A readable picture: name for the page, grey uint8 (H, W) with bones bright, what looks odd about it."""

    name: str
    image: np.ndarray
    notes: tuple[str, ...] = ()


def read_upload(file: str | Path, *, max_bytes: int, policy: ImagePolicy = ImagePolicy()) -> Upload:
    """Checks and reads an uploaded file of any name and at most `max_bytes`; `policy` says how it becomes grey.

    Raises:
      InputError: one line that begins with the file's name, for the page.
    """
    name = shown_name(Path(file).name)
    try:
        size = Path(file).stat().st_size
    except OSError as error:
        raise InputError(f"{name}: did not arrive ({error.strerror}); choose it again") from error
    if size > max_bytes:
        sizes = f"{size / 1e6:.1f} MB, at most {max_bytes / 1e6:g} MB are read"
        raise InputError(f"{name}: too large ({sizes}); make it smaller or start with a larger --max_mb")
    data = images.read_bytes(file, name=name)
    pixels = declared_pixels(data, name=name) if _is_dicom(data, name=name) else _picture_pixels(data)
    if pixels > MAX_PIXELS:
        counts = f"over {MAX_PIXELS // 1_000_000} million"
        raise InputError(f"{name}: states more pixels than an X-ray has ({counts}); make it smaller")
    reading = images.read_image(data, name=name, policy=policy)
    return Upload(name, reading.grey, (*reading.notes, *suspicions(reading.grey, colour=reading.colour)))


def _is_dicom(data: bytes, *, name: str) -> bool:
    """By the first bytes; `InputError` if they are neither those of DICOM nor of a PNG or JPEG."""
    dicom = is_dicom(data)
    if not dicom and not data.startswith(tuple(_PICTURES.values())):
        raise InputError(f"{name}: not a PNG, JPEG or DICOM file, whatever its name says; choose another")
    return dicom


def shown_name(name: str) -> str:
    """The name on one line of at most 60 characters: it comes from outside."""
    line = "".join(letter if letter.isprintable() else "?" for letter in name)
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"


def _picture_pixels(data: bytes) -> int:
    """Width times height by the header, 0 for a damaged one, of which the reader has more to say."""
    with caught(), contextlib.suppress(UnidentifiedImageError, OSError, SyntaxError, ValueError):
        try:
            with Image.open(io.BytesIO(data), formats=tuple(_PICTURES)) as image:
                return image.width * image.height
        except Image.DecompressionBombError:  # Pillow's own limit, far above ours
            return MAX_PIXELS + 1
    return 0
