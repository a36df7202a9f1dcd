"""The elements that describe a DICOM file's pixels (PS3.3, C.7.6.3): what is missing or against sense is settled here.

Each has one value that follows from the others, or from the compressed stream, in all but exotic files; taking it is a
note. Where nothing follows, the element is named.
"""

import re
from typing import Any

from data_pipelines.images.dicom_file import DicomFile
from data_pipelines.images.dicom_streams import BASELINE
from medslip_jax.errors import InputError

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def complete(file: DicomFile) -> None:
    """Fills in what is missing of the image pixel module, with notes; then checks what can be read at all.

    Raises:
      InputError: an element that nothing else tells, several frames, another kind of colour, too many bits.
    """
    dataset = file.dataset
    frames = _whole(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise InputError(f"DICOM with {frames} frames, expected one image; export the frame that you mean")
    dataset.NumberOfFrames = 1
    _samples_and_colour(file)
    kind = dataset.PhotometricInterpretation
    if kind not in GREY + COLOUR:
        raise InputError(f"DICOM of photometric interpretation {kind}; export it as MONOCHROME2")
    _size(file)
    _bits(file)
    _stream_fits(file)
    if _whole(dataset, "PixelRepresentation") not in (0, 1):
        signed = int(bool(file.stream and file.stream.signed))
        _take(file, "PixelRepresentation", signed, "signed" if signed else "unsigned")
    if dataset.SamplesPerPixel > 1 and _whole(dataset, "PlanarConfiguration") not in (0, 1):
        _take(file, "PlanarConfiguration", 0, "colour by pixel")


def numbers(dataset: Any, keyword: str) -> list[float | None]:
    """The values of a decimal element, None for one that is no number, such as "2048,5"; [] if there is none.

    pydicom raises at such a value whenever the element is looked at, so it is read as text.
    """
    from pydicom.tag import Tag

    tag = Tag(keyword)
    if tag not in dataset:
        return []
    raw = dataset.get_item(tag).value
    if isinstance(raw, bytes):
        texts = raw.decode("latin-1").split("\\")
    else:
        texts = [str(value) for value in raw] if _many(raw) else [str(raw)]
    texts = [text.strip("\0 ") for text in texts]
    if texts in ([""], ["None"]):
        return []
    return [float(text) if _NUMBER.fullmatch(text) else None for text in texts]


def _many(raw: Any) -> bool:
    return hasattr(raw, "__iter__") and not isinstance(raw, str)


def _samples_and_colour(file: DicomFile) -> None:
    dataset, stream = file.dataset, file.stream
    kind = str(dataset.get("PhotometricInterpretation") or "").strip().upper()
    samples, known = _whole(dataset, "SamplesPerPixel"), stream.samples if stream else 0
    if samples is None or (known in (1, 3) and known != samples):
        samples = known or _samples_of(dataset, kind)
        _take(file, "SamplesPerPixel", samples)
    if samples == 3 and (not kind or kind in GREY):
        kind = "YBR_FULL" if stream and stream.colour == "ybr" else "RGB"
        _take(file, "PhotometricInterpretation", kind)
    elif samples == 1 and (not kind or kind in COLOUR[:-1]):
        inverse = str(dataset.get("PresentationLUTShape") or "").strip().upper() == "INVERSE"
        kind = "MONOCHROME1" if inverse else "MONOCHROME2"
        _take(file, "PhotometricInterpretation", kind)
    dataset.PhotometricInterpretation = kind


def _samples_of(dataset: Any, kind: str) -> int:
    """By the kind of colour, else by the length of plain pixels."""
    if kind:
        return 3 if kind in COLOUR[:-1] else 1
    rows, columns, allocated = (_whole(dataset, keyword) or 0 for keyword in ("Rows", "Columns", "BitsAllocated"))
    return 3 if 0 < 3 * rows * columns * allocated // 8 <= len(dataset.PixelData) and _is_plain(dataset) else 1


def _is_plain(dataset: Any) -> bool:
    return not dataset["PixelData"].is_undefined_length


def _size(file: DicomFile) -> None:
    dataset, stream = file.dataset, file.stream
    for keyword, known in (("Rows", stream.rows if stream else 0), ("Columns", stream.columns if stream else 0)):
        stated = _whole(dataset, keyword)
        if not stated and not known:
            said = f"no {_named(keyword)}, which nothing else tells"
            raise InputError(f"not a readable DICOM image ({said}); write it into the file or export it again")
        if not stated:
            _take(file, keyword, known)
        elif known and known != stated:
            raise InputError(f"{_named(keyword)} is {stated}, its compressed image has {known}; export it again")


def _stream_fits(file: DicomFile) -> None:
    """A stream of another kind than the elements say is not given to a decoder: GDCM's crash at some."""
    stream = file.stream
    if stream is None or not stream.rows:
        return
    if stream.samples != file.dataset.SamplesPerPixel:
        said = (
            f"{_named('SamplesPerPixel')} is {file.dataset.SamplesPerPixel}, its compressed image has {stream.samples}"
        )
        raise InputError(f"{said}; export it again")
    if not 2 <= stream.precision <= 16 or stream.precision > file.dataset.BitsAllocated:
        said = f"its compressed image has {stream.precision} bits a pixel, of {file.dataset.BitsAllocated} allocated"
        raise InputError(f"not a readable DICOM image ({said}); export it again")


def _bits(file: DicomFile) -> None:
    """BitsAllocated, BitsStored, HighBit, in this order."""
    dataset, stream = file.dataset, file.stream
    stored, high, allocated = (_whole(dataset, keyword) for keyword in ("BitsStored", "HighBit", "BitsAllocated"))
    if not allocated:
        allocated = _allocated(file, stored or (high + 1 if high is not None else 0))
        _take(file, "BitsAllocated", allocated)
    if not stored:
        known = stream.precision if stream and stream.precision else 0
        stored = high + 1 if high else known or allocated
        _take(file, "BitsStored", stored)
    if stream and stream.syntax == BASELINE and allocated > 8:  # pydicom expects words of a stream that has bytes
        file.notes.append(f"{_named('BitsAllocated')} is {allocated}, its compressed image has 8")
        dataset.BitsAllocated = dataset.BitsStored = allocated = stored = 8
        dataset.HighBit = high = 7
    if stored not in range(1, 17):
        raise InputError(f"DICOM of {stored} bits a pixel, expected 1 .. 16; export it with 16")
    if high is None or not stored - 1 <= high < allocated:
        _take(file, "HighBit", stored - 1)


def _allocated(file: DicomFile, stored: int) -> int:
    """8 or 16, as the length of plain pixels says; else what holds the stored bits."""
    dataset, precision = file.dataset, file.stream.precision if file.stream else 0
    if file.stream is None and _is_plain(dataset):
        pixels = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
        return 16 if len(dataset.PixelData) >= 2 * pixels else 8
    return 16 if max(stored, precision) > 8 else 8


def _take(file: DicomFile, keyword: str, value: int | str, meaning: str = "") -> None:
    stated = file.dataset.get(keyword)
    said = f"no {_named(keyword)}" if stated in (None, "") else f"{_named(keyword)} is {stated}"
    file.notes.append(f"{said}: taken as {value}" + (f", {meaning}" if meaning else ""))
    file.guessed.add(keyword)
    setattr(file.dataset, keyword, value)


def _named(keyword: str) -> str:
    from pydicom.tag import Tag

    tag = Tag(keyword)
    return f"{keyword} ({tag.group:04X},{tag.element:04X})"


def _whole(dataset: Any, keyword: str) -> int | None:
    """A whole number, None if there is none."""
    if keyword not in dataset:
        return None
    try:
        value = dataset[keyword].value
        return int(value[0] if _many(value) else value)
    except (ValueError, TypeError, IndexError, AttributeError):
        return None
