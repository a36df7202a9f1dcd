"""Three samples a pixel whose tag, markers and planes do not agree."""

import io
import struct

import numpy as np
import pytest
from dicom_files import dicom_bytes
from pydicom import uid

from data_pipelines.images import read_image
from data_pipelines.images.dicom import read_dicom


def jpeg(planes: np.ndarray, *, markers: bool = True, space: str = "YCbCr", subsampling: int = 0) -> bytes:
    """Three planes as they are: Pillow stores those of an image in `space` without converting them."""
    from PIL import Image

    coded = io.BytesIO()
    image = (
        Image.fromarray(planes, "RGB") if space == "RGB" else Image.fromarray(planes).convert("RGB").convert("YCbCr")
    )
    if space == "RGB":
        image.save(coded, "JPEG", quality=95, keep_rgb=True, subsampling=0)
    else:
        image.save(coded, "JPEG", quality=95, subsampling=subsampling)
    data = coded.getvalue()
    while not markers and data[2:4] in (b"\xff\xe0", b"\xff\xee"):
        (length,) = struct.unpack_from(">H", data, 4)
        data = data[:2] + data[4 + length :]
    return data


@pytest.mark.parametrize("tag", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("space", ["RGB", "YCbCr"])
@pytest.mark.parametrize("markers", [True, False], ids=["markers", "bare"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_grey_picture_in_colour_jpeg_whatever_the_tag(tag, space, markers, subsampling):
    grey = np.clip(np.add.outer(np.arange(64) * 3, np.arange(64)), 0, 255).astype(np.uint8)
    planes = np.repeat(grey[..., None], 3, axis=2)
    coded = jpeg(planes, markers=markers, space=space, subsampling=subsampling)
    reading = read_image(dicom_bytes(planes, encoded=(coded, uid.JPEGBaseline8Bit), PhotometricInterpretation=tag))
    assert np.abs(reading.grey.astype(int) - grey).max() <= 4 and reading.colour == 0


def test_true_colour_keeps_its_colours():
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    planes = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(200)), axis=2)
    for space, tag, markers in (
        ("RGB", "RGB", True),
        ("RGB", "RGB", False),  # by its component ids
        ("YCbCr", "YBR_FULL_422", True),
        ("YCbCr", "YBR_FULL_422", False),
        ("YCbCr", "RGB", True),  # JFIF
    ):
        coded = jpeg(planes, markers=markers, space=space)
        pixels = read_dicom(
            dicom_bytes(planes, encoded=(coded, uid.JPEGBaseline8Bit), PhotometricInterpretation=tag), name="a"
        )
        assert np.abs(pixels.astype(int) - planes).mean() < 3, (space, tag, markers)
    halved = jpeg(planes, markers=False, subsampling=2)  # planes of different size are never RGB
    pixels = read_dicom(dicom_bytes(planes, encoded=(halved, uid.JPEGBaseline8Bit)), name="a")
    assert np.abs(pixels.astype(int) - planes).mean() < 4


def test_grey_ycbcr_tagged_rgb_without_compression():
    planes = np.full((64, 64, 3), 128, np.uint8)
    planes[..., 0] = np.arange(64) * 4
    for compressed in ({}, {"compress": uid.RLELossless}):
        reading = read_image(dicom_bytes(planes, **compressed))
        np.testing.assert_array_equal(reading.grey, planes[..., 0])
        assert "its pixels are YCbCr" in reading.notes[0]


@pytest.mark.parametrize("space", ["RGB", "YCbCr"])
def test_a_label_in_colour_does_not_make_a_grey_picture_one_in_colour(space):
    grey = np.clip(np.add.outer(np.arange(64) * 3, np.arange(64)), 0, 255).astype(np.uint8)
    planes = np.repeat(grey[..., None], 3, axis=2)
    planes[:12, :20] = (250, 220, 20)
    for tag in ("RGB", "YBR_FULL"):
        coded = jpeg(planes, markers=False, space=space)
        reading = read_image(dicom_bytes(planes, encoded=(coded, uid.JPEGBaseline8Bit), PhotometricInterpretation=tag))
        assert np.abs(reading.grey[16:].astype(int) - grey[16:]).max() <= 4
        assert 0 < reading.colour < 0.1
