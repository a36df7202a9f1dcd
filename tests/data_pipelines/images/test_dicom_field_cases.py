"""Files of kinds that people met (shared/field_cases): what a reader has to make of them."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines import images
from data_pipelines.images import suspicions
from data_pipelines.images.dicom import dicom_picture
from medslip_jax.errors import InputError

CASES = Path(__file__).parent / "field_cases"
# file -> the largest difference that its compression explains, and what its note says
RIGHT = {
    "voi_lut_negative_first_implicit_vr": (0, None),
    "voi_lut_negative_first_as_us": (0, None),
    "overlay_bits_jpeg2000": (3, "bits above the 12 stored ones are masked"),  # 12 bits, made from other rounding
    "ycbcr_stream_tagged_rgb": (8, "tagged RGB, but its pixels are YCbCr"),
    "jpeg_no_delimiter": (8, "the delimiter after its pixel data is missing"),
    "j2k_no_delimiter": (3, "the delimiter after its pixel data is missing"),
    "jpeg_no_ts": (8, "states no TransferSyntaxUID .* JPEG Baseline"),
}


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return images.squash(np.asarray(Image.open(CASES / "expected.png")), 256)


@pytest.mark.parametrize("name", RIGHT)
def test_the_picture_is_shown(name, expected):
    most, note = RIGHT[name]
    reading = images.read_image(CASES / f"{name}.dcm")
    assert np.abs(reading.grey.astype(int) - expected).max() <= most
    assert suspicions(reading.grey, colour=reading.colour) == []
    if note is None:
        assert reading.notes == ()
    else:
        assert len(reading.notes) == 1
        assert re.search(note, reading.notes[0])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("presentation_state_with_icon", "Grayscale Softcopy Presentation State Storage"),
        ("pdf_with_the_four_bytes", "Encapsulated PDF Storage"),
    ],
)
def test_objects_without_pixels_have_no_image(name, what):
    data = (CASES / f"{name}.dcm").read_bytes()
    with pytest.raises(
        InputError, match=rf"^a\.dcm: no image in it, DICOM without pixel data \({what}\); leave it out$"
    ) as caught:
        dicom_picture(data, name="a.dcm")
    assert caught.value.kind == "DICOM without pixels"
