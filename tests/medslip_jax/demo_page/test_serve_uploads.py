"""Files that a stranger may have made, and what the page says of them."""

import struct
import zlib
from typing import get_args, get_type_hints

import numpy as np
import pytest
from dicom_files import dicom_bytes
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from data_pipelines import images, phantom
from data_pipelines.images import ImagePolicy
from medslip_jax.cli import serve
from medslip_jax.demo_page.uploads import read_upload, shown_name
from medslip_jax.errors import InputError


def _png_header(width: int, height: int) -> bytes:
    """A PNG that states a size and has next to no data."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 99))]
    packed = (
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _dicom(*, rows: int = 64, columns: int = 64, deflated: bool = False) -> bytes:
    import io

    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    dicom = pydicom.Dataset()
    dicom.file_meta = pydicom.dataset.FileMetaDataset()
    dicom.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dicom.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dicom.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    dicom.SOPClassUID, dicom.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    dicom.Rows, dicom.Columns, dicom.SamplesPerPixel, dicom.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 8, 8, 7, 0
    dicom.PixelData = phantom.draw(1, size=64).image.tobytes()
    file = io.BytesIO()
    dicom.save_as(file, enforce_file_format=True)
    return file.getvalue()


PNG = images.encode_grey(phantom.draw(1, size=64).image, kind="png")
JPEG = images.encode_grey(phantom.draw(1, size=64).image)


@pytest.mark.parametrize(("data", "name"), [(PNG, "a.png"), (JPEG, "a.png"), (_dicom(), "a"), (PNG, "a.txt")])
def test_read_whatever_the_name_is(data, name, tmp_path):
    file = tmp_path / name
    file.write_bytes(data)
    upload = read_upload(file, max_bytes=10**6)
    assert upload.name == name and upload.image.shape == (64, 64) and upload.image.dtype == np.uint8
    assert upload.notes == ()


def test_a_negative_is_told_of(tmp_path):
    (tmp_path / "a.png").write_bytes(images.encode_grey(255 - phantom.draw(1, size=64).image, kind="png"))
    assert read_upload(tmp_path / "a.png", max_bytes=10**6).notes == ("looks inverted",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (PNG + bytes(10**6), r"too large \(1.0 MB, at most 1 MB are read\)"),
        (b"findings: none", "not a PNG, JPEG or DICOM file, whatever its name says"),
        (b"%PDF-1.7" + bytes(200), "not a PNG, JPEG or DICOM file"),
        (b"GIF89a" + bytes(200), "not a PNG, JPEG or DICOM file"),
        (PNG[: len(PNG) // 2], "not a readable"),
        (PNG[:12], "not a readable"),
        (JPEG[: len(JPEG) // 2], "not a readable"),
        (_png_header(10_000, 5_001), r"more pixels than an X-ray has \(over 50 million\)"),
        (_png_header(60_000, 60_000), "more pixels than an X-ray has"),
        (_png_header(2**31 - 1, 2**31 - 1), "more pixels than an X-ray has"),
        (_dicom(rows=60_000, columns=60_000), "more pixels than an X-ray has"),
        (_dicom(deflated=True), "deflated DICOM file, which may hide any size"),
        (_dicom()[:-100], "not a readable DICOM|ends within"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_bad_file(data, message, tmp_path):
    (tmp_path / "scan.png").write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_upload(tmp_path / "scan.png", max_bytes=10**6)
    assert str(error.value).startswith("scan.png: ") and "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value), "no path of this machine on the page"


def test_a_file_that_did_not_arrive(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: did not arrive"):
        read_upload(tmp_path / "a.png", max_bytes=1)


def test_names_are_short_and_on_one_line():
    assert shown_name("a\nb\x1b.png") == "a?b?.png"
    assert len(shown_name("x" * 300)) == 60


def test_what_is_missing_in_a_header_hides_no_size(tmp_path):
    whole = _dicom(rows=2, columns=2, deflated=True)
    hidden = whole.replace(b"1.2.840.10008.1.2.1.99", bytes(22))
    (tmp_path / "hidden.dcm").write_bytes(hidden)
    with pytest.raises(InputError, match="deflated DICOM file, which may hide any size"):
        read_upload(tmp_path / "hidden.dcm", max_bytes=10**6)
    frame = JPEG
    start = frame.index(b"\xff\xc0") + 5
    large = frame[:start] + struct.pack(">HH", 60_000, 60_000) + frame[start + 4 :]
    (tmp_path / "large.dcm").write_bytes(dicom_bytes(np.zeros((2, 2), np.uint8), encoded=(large, JPEGBaseline8Bit)))
    with pytest.raises(InputError, match="more pixels than an X-ray has"):
        read_upload(tmp_path / "large.dcm", max_bytes=10**6)


def test_notes_and_policy_of_the_reader(tmp_path):
    deep = phantom.draw(1, size=64).image.astype(np.uint16) * 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    upload = read_upload(tmp_path / "deep.png", max_bytes=10**6)
    assert "--sixteen_bit stretch" in upload.notes[0]
    spread = read_upload(tmp_path / "deep.png", max_bytes=10**6, policy=ImagePolicy(sixteen_bit="stretch"))
    assert spread.notes == () and spread.image.max() == 255
    known = {action.dest: action.choices for action in serve._parser()._actions}
    for name, kind in get_type_hints(ImagePolicy).items():
        assert name == "resize" or known[name] == get_args(kind)  # the page shows the picture as it is
