"""Stored values of a grey DICOM -> 0 black .. 1 white: modality table or rescale, then VOI table or window.

pydicom's `apply_rescale` and `apply_windowing` compute what they can. Tables are looked up here: `apply_voi` of pydicom
3.0 wraps around above 255 where entries have 8 bits, cuts fractions off, takes no entries that are packed two a word,
and takes a first input value below 0 that is written as unsigned at its word.
"""

import dataclasses
from typing import Any

import numpy as np

from data_pipelines.images.dicom_elements import numbers
from data_pipelines.images.dicom_file import DicomFile
from data_pipelines.images.policy import ImagePolicy

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclasses.dataclass(frozen=True)
class _Modality:
    """Modality values of all stored ones; `windows` says whether a VOI table or window can lie on them."""

    values: np.ndarray
    windows: bool = True


def shown(stored: np.ndarray, used: np.ndarray, file: DicomFile, policy: ImagePolicy) -> np.ndarray:
    """Float64 (N,), 0 .. 1, before MONOCHROME1 is inverted.

    The first VOI table or window as `policy.voi` says, and the other where the first is of no use, with a note. Without
    any: 8 bits as they are, more bits from the lowest value of the image to its highest.

    Args:
      stored: int (N,), every value that the stored bits can have, ascending.
      used: bool (N,), those that are in the image and no padding.
      file: its elements; its notes grow.
      policy: see there.
    """
    modality = _modality(stored, file)
    values = modality.values
    ways = {"lut": (_tabled, _windowed), "window": (_windowed, _tabled), "none": ()}[policy.voi]
    for way in ways if modality.windows else ():
        found = way(values, file)
        if found is not None:
            return found
    ends = values if file.dataset.BitsStored <= 8 else values[used] if used.any() else values[:1]
    return _stretched(values, ends)


def _stretched(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    low, high = ends.min(), ends.max()
    return ((values - low) / max(high - low, 1e-9)).clip(0, 1)


def _modality(stored: np.ndarray, file: DicomFile) -> _Modality:
    from pydicom.dataset import Dataset
    from pydicom.pixels import apply_rescale

    tables = file.dataset.get("ModalityLUTSequence")
    if tables:
        table = _table(tables[0], stored, file, "modality")
        return _Modality(stored.astype(np.float64), windows=False) if table is None else _Modality(table)
    slopes, intercepts = (numbers(file.dataset, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if not slopes or not intercepts:
        return _Modality(stored.astype(np.float64))
    slope, intercept = slopes[0], intercepts[0]
    if slope is None or intercept is None or not np.isfinite([slope, intercept]).all() or slope == 0:
        said = f"RescaleSlope {_written(file, 'RescaleSlope')}, RescaleIntercept {_written(file, 'RescaleIntercept')}"
        file.notes.append(f"{said} leave no image: read without them, and without a window")
        return _Modality(stored.astype(np.float64), windows=False)
    line = Dataset()  # of the first values, as numbers, whatever is written besides
    line.RescaleSlope, line.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
    return _Modality(apply_rescale(stored, line))


def _tabled(values: np.ndarray, file: DicomFile) -> np.ndarray | None:
    """Through the first VOI table, whose lowest and highest entry become 0 and 1; None if there is none of use."""
    tables = file.dataset.get("VOILUTSequence")
    if not tables:
        return None
    found = _table(tables[0], values, file, "VOI")
    return None if found is None else _stretched(found, found)


def _windowed(values: np.ndarray, file: DicomFile) -> np.ndarray | None:
    """Through the first window that leaves an image (PS3.3, C.11.2.1.2 and C.11.2.1.3); None if there is none."""
    from pydicom.dataset import Dataset
    from pydicom.pixels import apply_windowing

    centers, widths = (numbers(file.dataset, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if not centers or not widths:
        return None
    function = str(file.dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in _FUNCTIONS:
        file.notes.append(f"VOI LUT function {function} is none of the standard's: read without a window")
        return None
    least = 1 if function == "LINEAR" else 0
    for number, (center, width) in enumerate(zip(centers, widths, strict=False)):
        if center is not None and width is not None and np.isfinite([center, width]).all() and width > least:
            if number:
                file.notes.append(f"{_window(file)} leaves no image: window {number + 1} is taken")
            window = Dataset()  # of sixteen bits and no rescale, so that the result is 0 .. 65535
            window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 16, 0
            window.VOILUTFunction, window.WindowCenter, window.WindowWidth = function, f"{center:.9g}", f"{width:.9g}"
            return apply_windowing(values, window) / 65535
    file.notes.append(f"{_window(file)} leaves no image: read without a window")
    return None


def _window(file: DicomFile) -> str:
    return f"window of center {_written(file, 'WindowCenter')}, width {_written(file, 'WindowWidth')}"


def _written(file: DicomFile, keyword: str) -> str:
    """The text of a decimal element."""
    from pydicom.tag import Tag

    raw = file.dataset.get_item(Tag(keyword)).value
    return repr(raw.decode("latin-1").strip("\0 ") if isinstance(raw, bytes) else str(raw))


def _table(item: Any, values: np.ndarray, file: DicomFile, kind: str) -> np.ndarray | None:
    """Values through a modality or VOI table, whose ends also hold below and above it; None, noted, if it is damaged.

    Below 0 the first input value is written as its two's complement. Whether it is meant as signed, the range of
    `values` says (C.11.1.1, C.11.2.1.1), not the VR, which implicit VR has not and writers get wrong; where the table
    then lies wholly outside of that range, it was meant otherwise.
    """
    descriptor = _descriptor(item, file.little_endian)
    entries = None if descriptor is None else _entries(item, descriptor, file.little_endian)
    if descriptor is None or entries is None:
        file.notes.append(f"its {kind} table is damaged: read without it")
        return None
    low, high = float(values.min()), float(values.max())
    unsigned = descriptor[1]
    signed = unsigned - 0x10000 if unsigned >= 0x8000 else unsigned
    readings = (signed, unsigned) if low < 0 else (unsigned, signed)
    first = next((start for start in readings if start <= high and start + len(entries) > low), readings[0])
    return entries[np.rint(values - first).clip(0, len(entries) - 1).astype(np.int64)]


def _descriptor(item: Any, little_endian: bool) -> list[int] | None:
    """Number of entries (0: 65536), first input value, bits of an entry: unsigned, of whatever VR."""
    found = item.get("LUTDescriptor")
    if isinstance(found, bytes) and len(found) == 6:  # of VR UN
        found = np.frombuffer(found, "<u2" if little_endian else ">u2")
    if found is None or isinstance(found, bytes | str) or len(found) != 3:
        return None
    return [int(value) & 0xFFFF for value in found]


def _entries(item: Any, descriptor: list[int], little_endian: bool) -> np.ndarray | None:
    """Float64 (N,): the entries of a table, 8 or 16 bits each, of 8 bits also two a word; None if some are missing."""
    count, bits, data = descriptor[0] or 0x10000, descriptor[2], item.get("LUTData")
    if data is None:
        return None
    if not isinstance(data, bytes):
        words = np.atleast_1d(np.asarray(data, np.int64)).astype(np.uint16)
        data, little_endian = words.astype("<u2").tobytes(), True
    order = "<" if little_endian else ">"
    if len(data) >= 2 * count:
        return np.frombuffer(data, f"{order}u2")[:count].astype(np.float64)
    if bits > 8 or len(data) < count:
        return None
    packed = data if little_endian else np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    return np.frombuffer(packed, np.uint8)[:count].astype(np.float64) if len(packed) >= count else None
