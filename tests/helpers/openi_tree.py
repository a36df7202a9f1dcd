"""A small directory in the layout of the Open-I download of IU X-Ray, with invented text, and what goes wrong in it."""

import io
import tarfile
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from data_pipelines import images

# report -> images, findings, impression, codes
REPORTS = {
    1: (
        ("CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"),
        "Left pleural effusion.",
        "No pneumothorax.",
        "Pleural Effusion/left",
    ),
    2: (("CXR2_IM-0652-1001",), "Possible pneumonia. The heart is enlarged.", "", "Cardiomegaly/borderline"),
    3: (("CXR3_IM-1384-1001",), "", "", "No Indexing"),
    4: ((), "Clear lungs.", "Normal.", "normal"),
    5: (("CXR5_IM-2117-1003002", "CXR2_IM-0652-1001"), "", "No pleural effusion.", "normal"),
    6: (("CXR6_IM-2192-1001", "CXR6_IM-2192-2001"), "Right pneumothorax.", "", "Pneumothorax/right"),
}
GONE, CUT, STRAY = "CXR6_IM-2192-2001", "CXR6_IM-2192-1001", "CXR9_IM-9999-1001"
PROJECTIONS = """uid,filename,projection
1,1_IM-0001-4001.dcm.png,Frontal
1,1_IM-0001-3001.dcm.png,Lateral
2,2_IM-0652-1001.dcm.png,Frontal
3,3_IM-1384-1001.dcm.png,Frontal
6,6_IM-2192-1001.dcm.png,Frontal
"""
_XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="CXR{number}"/>
   <docSource>CXR</docSource>
   <MedlineCitation Owner="Indiana University" Status="supplied by publisher">
      <Article PubModel="Electronic">
         <Abstract>
            <AbstractText Label="COMPARISON">None.</AbstractText>
            <AbstractText Label="INDICATION">Pneumonia?</AbstractText>
            <AbstractText Label="FINDINGS">{findings}</AbstractText>
            <AbstractText Label="IMPRESSION">{impression}</AbstractText>
         </Abstract>
      </Article>
   </MedlineCitation>
   <MeSH>
      <major>{code}</major>
   </MeSH>
{images}</eCitation>
"""
_IMAGE = """   <parentImage id="{name}">
      <figureId>F1</figureId>
      <caption>PA and lateral chest</caption>
   </parentImage>
"""


def xml(number: int) -> bytes:
    names, findings, impression, code = REPORTS[number]
    parents = "".join(_IMAGE.format(name=name) for name in names)
    text = _XML.format(number=number, findings=findings, impression=impression, code=code, images=parents)
    return text.encode()


def write_archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for number in REPORTS:
            entry = tarfile.TarInfo(f"ecgen-radiology/{number}.xml")
            entry.size = len(xml(number))
            archive.addfile(entry, io.BytesIO(xml(number)))


def ramp(number: int) -> np.ndarray:
    return np.tile(np.arange(100, dtype=np.uint8) * 2 + number, (80, 1))


def names() -> list[str]:
    """Of all images that have a file."""
    found = dict.fromkeys(name for report in REPORTS.values() for name in report[0])
    return [*(name for name in found if name != GONE), STRAY]


def make_tree(root: Path) -> Path:
    write_archive(root / "NLMCXR_reports.tgz")
    (root / "NLMCXR_png").mkdir()
    for number, name in enumerate(names()):
        data = images.encode_grey(ramp(number), kind="png")
        (root / "NLMCXR_png" / f"{name}.png").write_bytes(data[: len(data) // 2] if name == CUT else data)
    (root / "indiana_projections.csv").write_text(PROJECTIONS)
    return root


def write_dicom(path: Path, pixels: np.ndarray, *, view: str | None) -> None:
    """A computed radiograph as DICOM; without ViewPosition where `view` is None."""
    dicom = Dataset()
    dicom.file_meta = FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dicom.file_meta.MediaStorageSOPClassUID = dicom.SOPClassUID = ComputedRadiographyImageStorage
    dicom.file_meta.MediaStorageSOPInstanceUID = dicom.SOPInstanceUID = "1.2.3"
    dicom.Modality = "CR"
    if view is not None:
        dicom.ViewPosition = view
    dicom.PhotometricInterpretation, dicom.SamplesPerPixel = "MONOCHROME2", 1
    dicom.Rows, dicom.Columns = pixels.shape
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 8, 8, 7, 0
    dicom.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom.save_as(path, enforce_file_format=True)


def make_dicoms(root: Path) -> Path:
    """The DICOM download of reports 1 and 2: 1's lateral says LL, 2 nothing, and one file comes twice."""
    write_dicom(root / "NLMCXR_dcm" / "1" / "1_IM-0001-3001.dcm", ramp(0), view="LL")
    write_dicom(root / "NLMCXR_dcm" / "1" / "1_IM-0001-4001.dcm", ramp(1), view="PA")
    write_dicom(root / "NLMCXR_dcm" / "2" / "2_IM-0652-1001.dcm", ramp(2), view=None)
    write_dicom(root / "NLMCXR_dcm" / "2 copy" / "2_IM-0652-1001.dcm", ramp(2), view=None)
    return root
