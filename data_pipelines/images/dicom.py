"""One DICOM file -> the picture that it shows, uint8, and what to know of it. `dicom_*.py` beside it hold the steps."""

import dataclasses

import numpy as np

from data_pipelines.images import dicom_pixels, dicom_values
from data_pipelines.images.dicom_elements import GREY, complete
from data_pipelines.images.dicom_file import DicomFile, open_dicom
from data_pipelines.images.messages import caught
from data_pipelines.images.policy import ImagePolicy
from medslip_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class DicomPicture:
    """uint8 (H, W), or (H, W, 3) RGB if it is in colour; `notes` say what was amiss in the file and is mended."""

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def read_dicom(data: bytes, *, name: str, policy: ImagePolicy = ImagePolicy()) -> np.ndarray:
    """`dicom_picture` without the notes."""
    return dicom_picture(data, name=name, policy=policy).pixels


def dicom_picture(data: bytes, *, name: str, policy: ImagePolicy = ImagePolicy()) -> DicomPicture:
    """Bytes of a DICOM file -> its picture.

    Grey goes through the standard's steps in its order: modality table or rescale slope and intercept; the first VOI
    table or window (`policy.voi`), whose ends become 0 and 255; MONOCHROME1 inverted. Padding (Pixel Padding Value,
    Range Limit) does not count for the image's own range and becomes black. Presentation LUT Shape is not looked at, as
    it repeats what MONOCHROME1 says. What pydicom and its plug-ins say meanwhile are notes too.

    Raises:
      InputError: a damaged file, none or several images in it, or pixels that no installed plug-in decodes.
    """
    file = None
    with caught() as said:
        try:
            file = open_dicom(data)
            complete(file)
            grey = file.dataset.PhotometricInterpretation in GREY
            pixels = _grey(dicom_pixels.stored_values(file), file, policy) if grey else dicom_pixels.rgb(file)
        except InputError as error:
            raise InputError(f"{name}: {error}", kind=error.kind) from error
        except Exception as error:  # pydicom and its plug-ins raise any class, AttributeError and KeyError included
            # Where plug-ins failed, the last line has the cause.
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise InputError(f"{name}: not a readable DICOM image ({last}); get the file again") from error
    return DicomPicture(pixels, (*file.notes, *said))


def _grey(pixels: np.ndarray, file: DicomFile, policy: ImagePolicy) -> np.ndarray:
    """Stored values (H, W) -> uint8, through one table with an entry for each value that the stored bits can have."""
    dataset = file.dataset
    lowest = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    stored = np.arange(lowest, lowest + 2**dataset.BitsStored)
    padding = _padding(stored, file)
    places = pixels.astype(np.int32) - lowest if lowest else pixels
    used = np.bincount(places.ravel(), minlength=len(stored)) > 0
    shown = dicom_values.shown(stored, used & ~padding, file, policy)
    if dataset.PhotometricInterpretation == "MONOCHROME1" and policy.polarity == "tagged":
        shown = 1 - shown
    return np.where(padding, 0, np.rint(255 * shown)).astype(np.uint8)[places]


def _padding(stored: np.ndarray, file: DicomFile) -> np.ndarray:
    """Bool: which stored values are padding."""
    first, last = (file.dataset.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if first is None:
        return np.zeros(stored.shape, bool)
    # A negative value may be written as the unsigned one of the same bits.
    whole = 2**file.dataset.BitsAllocated
    ends = [int(value) % whole for value in (first, first if last is None else last)]
    if stored[0] < 0:
        ends = [end - whole if end >= whole // 2 else end for end in ends]
    return (stored >= min(ends)) & (stored <= max(ends))
