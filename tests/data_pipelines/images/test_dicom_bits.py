"""What the bits of a pixel are, after every decoder."""

import io

import numpy as np
import pydicom
import pytest
from dicom_files import COLUMN, GREY, OVERLAY, PIXELS, ROW, STREAMS, dicom_bytes, frame, streams
from pydicom import uid
from pydicom.pixels import get_decoder

from data_pipelines.images.dicom import dicom_picture, read_dicom
from data_pipelines.images.dicom_streams import stream_of


@pytest.mark.parametrize("kind", ["plain", "overlay"])
def test_bits_above_the_stored_ones_are_masked_after_every_decoder(kind):
    made = streams(kind)
    native = {"PixelData": (OVERLAY if kind == "overlay" else PIXELS).tobytes()}
    files = {name: dicom_bytes(PIXELS, encoded=encoded, BitsStored=12) for name, encoded in made.items()}
    files |= {"native": dicom_bytes(PIXELS, BitsStored=12, **native)}
    files |= {"RLE": dicom_bytes(OVERLAY if kind == "overlay" else PIXELS, compress=uid.RLELossless, BitsStored=12)}
    for name, data in files.items():
        picture = dicom_picture(data, name=name)
        np.testing.assert_array_equal(picture.pixels, GREY, err_msg=name)
        seen = kind == "overlay" and name != "jpeg_lossless"  # GDCM masks them itself
        assert [note.startswith("bits above the 12 stored") for note in picture.notes] == [True] * seen


def test_masked_values_keep_their_sign():
    signed = (PIXELS.astype(np.int16) - 2048).astype(np.int16)
    burned = ((signed & 0x0FFF) | np.where(np.abs(ROW - COLUMN) < 3, 0x4000, 0)).astype(np.int16)
    np.testing.assert_array_equal(read_dicom(dicom_bytes(signed, BitsStored=12), name="a"), GREY)
    picture = dicom_picture(dicom_bytes(burned, BitsStored=12), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert len(picture.notes) == 1
    # Without the upper bits of the sign, and nothing else in them, there is nothing to tell.
    assert dicom_picture(dicom_bytes(signed & 0x0FFF, BitsStored=12), name="a").notes == ()


def test_signed_pixels_behind_an_unsigned_stream():
    signed = (PIXELS.astype(np.int16) - 2048).astype(np.int16)
    for burned in (signed & 0x0FFF, (signed & 0x0FFF) | np.where(np.abs(ROW - COLUMN) < 3, 0x4000, 0).astype(np.int16)):
        coded = frame(burned.astype(np.uint16), "JPEG2000", no_jp2=True)
        data = dicom_bytes(signed, encoded=(coded, uid.JPEG2000Lossless), BitsStored=12)
        np.testing.assert_array_equal(read_dicom(data, name="a"), GREY)


def test_values_in_the_upper_bits_are_moved_down():
    dicom = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS << 4, BitsStored=12)))
    dicom.HighBit = 15
    dicom.save_as(file := io.BytesIO())
    picture = dicom_picture(file.getvalue(), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert picture.notes == ("HighBit is 15 of 12 bits stored: the lower bits are left out",)


def test_lossy_overshoot_is_clipped_and_not_wrapped():
    steps = np.where(COLUMN < 16, 0, 4095).astype(np.uint16)
    lossy = frame(steps, "JPEG2000", no_jp2=True, irreversible=True, quality_mode="rates", quality_layers=[12])
    stream = stream_of(lossy)
    assert stream.lossy and stream.precision == 16
    picture = dicom_picture(dicom_bytes(steps, encoded=(lossy, uid.JPEG2000), BitsStored=12), name="a")
    assert picture.pixels[:, :13].max() < 128 < picture.pixels[:, 19:].min() and picture.notes == ()


def test_overlay_on_dark_ground_behind_a_lossy_stream_is_masked():
    dark = np.full((32, 32), 300, np.uint16)
    dark[8:12, 4:28] |= 0x1000
    lossy = frame(dark, "JPEG2000", no_jp2=True, irreversible=True)
    picture = dicom_picture(
        dicom_bytes(dark, encoded=(lossy, uid.JPEG2000), BitsStored=12, WindowCenter=2048, WindowWidth=4097), name="a"
    )
    assert np.abs(picture.pixels.astype(int) - 19).max() <= 2 and len(picture.notes) == 1


@pytest.mark.parametrize("name", ["jpeg_ls_near", "htj2k_lossy"])
def test_lossy_streams_are_close(name):
    syntax = {"jpeg_ls_near": uid.JPEGLSNearLossless, "htj2k_lossy": uid.HTJ2K}[name]
    if not get_decoder(syntax).is_available:
        pytest.skip(f"no plug-in for {syntax.name}: pip install 'medslip_jax[dicom]'")
    data = dicom_bytes(PIXELS, encoded=((STREAMS / f"{name}_plain.bin").read_bytes(), syntax), BitsStored=12)
    assert np.abs(read_dicom(data, name=name).astype(int) - GREY).max() <= 3


def test_eight_bit_stream_of_sixteen_allocated():
    grey = (PIXELS >> 4).astype(np.uint8)
    coded = frame(grey, "JPEG", quality=95)
    data = dicom_bytes(PIXELS, encoded=(coded, uid.JPEGBaseline8Bit), BitsStored=12)
    picture = dicom_picture(data, name="a")
    assert np.abs(picture.pixels.astype(int) - grey).max() <= 8
    assert picture.notes == ("BitsAllocated (0028,0100) is 16, its compressed image has 8",)
