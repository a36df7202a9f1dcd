"""What the tests of RSNA and SIIM-ACR share: DICOM files like those of the challenges, and reading a build."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from data_pipelines import images
from data_pipelines.datasets import open_split
from medslip_jax.vocabulary import PATHOLOGIES


def picture(side: int, *, bright: tuple[int, int, int, int] | None = None, seed: int = 0) -> np.ndarray:
    """Dark grey with a bright rectangle (x, y, width, height); every seed gives another file."""
    pixels = np.full((side, side), 40 + seed, np.uint8)
    if bright:
        x, y, w, h = bright
        pixels[y : y + h, x : x + w] = 230
    return pixels


def write_dicom(path: Path, pixels: np.ndarray | None, *, age: str = "51") -> None:
    """A computed radiograph as the two challenges give them: MONOCHROME2, 8 bits, one JPEG baseline frame, the
    PatientID of the file's name; None for one without pixels."""
    dicom = Dataset()
    dicom.file_meta = FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    dicom.SOPClassUID, dicom.SOPInstanceUID = (
        uid.SecondaryCaptureImageStorage,
        uid.generate_uid(entropy_srcs=[path.stem]),
    )
    dicom.Modality, dicom.BodyPartExamined, dicom.ViewPosition, dicom.ConversionType = "CR", "CHEST", "PA", "WSD"
    dicom.PatientID = dicom.PatientName = path.stem[:36]
    dicom.PatientSex = "F"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom.PatientAge = age  # without a unit, as there; the standard wants "051Y"
    dicom.SamplesPerPixel, dicom.PhotometricInterpretation, dicom.PixelRepresentation = 1, "MONOCHROME2", 0
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit = 8, 8, 7
    dicom.LossyImageCompression, dicom.LossyImageCompressionMethod = "01", "ISO_10918_1"
    if pixels is not None:
        dicom.Rows, dicom.Columns = pixels.shape
        frame = io.BytesIO()
        Image.fromarray(pixels).save(frame, "JPEG", quality=95)
        dicom.PixelData = encapsulate([frame.getvalue()])
        dicom["PixelData"].VR, dicom["PixelData"].is_undefined_length = "OB", True
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom.save_as(path, enforce_file_format=True)


def truncate(path: Path) -> None:
    """Keeps the first two thirds, which end within the pixels."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def records(out: Path, name: str, *splits: str) -> dict[str, dict]:
    """image id -> record of these splits."""
    sources = [open_split(out, name, split) for split in splits]
    return {source[i]["image_id"]: source[i] for source in sources for i in range(len(source))}


def stated(record: dict) -> dict[str, int]:
    return {PATHOLOGIES[i]: int(record["labels"][i]) for i in np.flatnonzero(record["labels"] >= 0)}


def bright_share(record: dict, inside: np.ndarray) -> tuple[float, float]:
    """(share of `inside`, share of all bright pixels): how much of the one is bright, and of the other is inside."""
    image = images.decode_grey(record["image"], name="image") > 128
    return float(image[inside].mean()), float(image[inside].sum() / image.sum())


def inside(record: dict, annotation: dict) -> np.ndarray:
    """Bool (H, W): the stored pixels within the box, or the mask where there is one."""
    shape = images.decode_grey(record["image"], name="image").shape
    if annotation["mask"]:
        return images.decode_grey(annotation["mask"], name="mask") > 128
    x0, y0, x1, y1 = np.rint(annotation["box"] * np.array(shape[::-1] * 2)).astype(int)
    found = np.zeros(shape, bool)
    found[y0:y1, x0:x1] = True
    return found
