"""What a DICOM file says of its picture besides the pixels."""

import warnings
from pathlib import Path


def view_position(path: str | Path) -> str:
    """View Position (0018,5101) in capitals, such as "PA", "AP", "LL"; "" if it is not stated or the file is no DICOM,
    which `images.read_image` complains of."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on values that the standard does not allow
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["ViewPosition"])
            return str(header.get("ViewPosition") or "").strip().upper()
        except Exception:  # pydicom raises any class on a damaged header
            return ""
