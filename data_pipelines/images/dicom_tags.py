"""What a DICOM file says of its picture besides the pixels."""

from collections.abc import Mapping
from pathlib import Path

from data_pipelines.images.dicom_body import is_deflated, is_dicom
from data_pipelines.images.dicom_file import open_dicom
from data_pipelines.images.messages import caught
from medslip_jax.errors import InputError

_BEGINNING = 140  # bytes that `is_dicom` looks at


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

    with caught():  # on values that the standard does not allow
        try:
            with Path(path).open("rb") as file:
                known = is_dicom(file.read(_BEGINNING))
                file.seek(0)
                header = pydicom.dcmread(file, force=known, stop_before_pixels=True, specific_tags=list(tags.values()))
            return {name: str(header.get(tag) or "").strip() for name, tag in tags.items()}
        except Exception:  # pydicom raises any class on a damaged header
            return dict.fromkeys(tags, "")


def declared_pixels(data: bytes, *, name: str) -> int:
    """Rows times columns times frames that a DICOM file states, or its compressed stream if that has more, with nothing
    decoded; 0 if they do not state them, of which `images.read_image` complains. For files of strangers.

    Raises:
      InputError: a deflated data set: it would have to be inflated, to any size, to be looked at.
    """
    with caught():
        try:
            deflated = is_deflated(data)
        except Exception:  # pydicom raises any class on a damaged header
            return 0
        if deflated:
            raise InputError(f"{name}: a deflated DICOM file, which may hide any size; export it uncompressed")
        try:
            file = open_dicom(data)
            rows, columns, frames = (file.dataset.get(tag) for tag in ("Rows", "Columns", "NumberOfFrames"))
            stream = file.stream.rows * file.stream.columns if file.stream else 0
            return max(int(rows or 0) * int(columns or 0) * int(frames or 1), stream)
        except Exception:
            return 0
