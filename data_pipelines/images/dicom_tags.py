"""What a DICOM file says of its picture besides the pixels."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

from medslip_jax.errors import InputError

_DEFLATED = "1.2.840.10008.1.2.1.99"


def view_position(path: str | Path) -> str:
    """View Position (0018,5101) in capitals, such as "PA", "AP", "LL"; "" if it is not stated or the file is no DICOM,
    which `images.read_image` complains of."""
    return _texts(path, {"view": "ViewPosition"})["view"].upper()


def patient_tags(path: str | Path) -> dict[str, str]:
    """{"sex", "age", "view"} as the header writes them: Patient's Sex (0010,0040), such as "F"; Patient's Age
    (0010,1010), such as "058Y" or, against the standard, "58"; View Position. "" as for `view_position`."""
    return _texts(path, {"sex": "PatientSex", "age": "PatientAge", "view": "ViewPosition"})


def _texts(path: str | Path, tags: Mapping[str, str]) -> dict[str, str]:
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on values that the standard does not allow
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags.values()))
            return {name: str(header.get(tag) or "").strip() for name, tag in tags.items()}
        except Exception:  # pydicom raises any class on a damaged header
            return dict.fromkeys(tags, "")


def declared_pixels(data: bytes, *, name: str) -> int:
    """Rows times columns times frames that a DICOM file states, with nothing decoded; 0 if it does not state them, of
    which `images.read_image` complains. For files of strangers.

    Raises:
      InputError: a deflated data set: it would have to be inflated, to any size, to be looked at.
    """
    import pydicom
    from pydicom.filereader import read_dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # The header's own group, which is never deflated; whole files are inflated when they are opened.
            meta = read_dataset(io.BytesIO(data[132:]), False, True, stop_when=lambda tag, vr, length: tag.group != 2)
            syntax = meta.get("TransferSyntaxUID")
        except Exception:  # pydicom raises any class on a damaged header
            return 0
        if syntax == _DEFLATED:
            raise InputError(f"{name}: a deflated DICOM file, which may hide any size; export it uncompressed")
        try:
            tags = ["Rows", "Columns", "NumberOfFrames"]
            header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=tags)
            return int(header.get("Rows") or 0) * int(header.get("Columns") or 0) * int(header.get(tags[2]) or 1)
        except Exception:
            return 0
