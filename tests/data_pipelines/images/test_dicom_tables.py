"""Windows, rescales and look-up tables, also those of no use."""

import io
import struct

import numpy as np
import pydicom
import pytest
from dicom_files import GREY, PIXELS, dicom_bytes, lut, table
from pydicom import uid
from pydicom.dataset import Dataset

from data_pipelines.images.dicom import dicom_picture, read_dicom
from data_pipelines.images.policy import ImagePolicy


@pytest.mark.parametrize(
    ("center", "width"),
    [("2048", "0.5"), ("2048", "0"), ("2048", "-3"), ("2047,5", "4095"), ("2048", "4096,0"), ("a", "b"), ("0", "1")],
)
def test_window_that_leaves_no_image_is_not_used(center, width):
    data = dicom_bytes(PIXELS, BitsStored=12)
    dicom = pydicom.dcmread(io.BytesIO(data))
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    del start
    with pydicom.config.disable_value_validation():
        dicom.add_new("WindowCenter", "LO", center)
        dicom.add_new("WindowWidth", "LO", width)
        dicom.save_as(file := io.BytesIO(), enforce_file_format=True)
    for tag in (0x1050, 0x1051):  # as DS, which pydicom would not write
        file.getbuffer()[:] = file.getvalue().replace(
            struct.pack("<HH", 0x28, tag) + b"LO", struct.pack("<HH", 0x28, tag) + b"DS"
        )
    picture = dicom_picture(file.getvalue(), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert picture.notes == (f"window of center '{center}', width '{width}' leaves no image: read without a window",)
    assert dicom_picture(file.getvalue(), name="a", policy=ImagePolicy(voi="none")).notes == ()


def test_second_window_is_taken_where_the_first_is_of_no_use():
    tags = {"WindowCenter": [0, 2048], "WindowWidth": [0, 4097]}
    picture = dicom_picture(dicom_bytes(PIXELS, BitsStored=12, **tags), name="a")
    only = read_dicom(dicom_bytes(PIXELS, BitsStored=12, WindowCenter=2048, WindowWidth=4097), name="a")
    np.testing.assert_array_equal(picture.pixels, only)
    assert "window 2 is taken" in picture.notes[0]


@pytest.mark.parametrize(
    ("tags", "note"),
    [
        (
            {"WindowCenter": 5, "WindowWidth": 50, "VOILUTFunction": "LOG"},
            "VOI LUT function LOG is none of the standard's",
        ),
        (
            {"RescaleSlope": 0, "RescaleIntercept": 1, "WindowCenter": 5, "WindowWidth": 50},
            "RescaleSlope '0.0', RescaleIntercept '1.0' leave no image",
        ),
    ],
)
def test_other_steps_that_leave_no_image(tags, note):
    picture = dicom_picture(dicom_bytes(PIXELS, BitsStored=12, **tags), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert len(picture.notes) == 1 and picture.notes[0].startswith(note)


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("representation", ["US", "SS"])
@pytest.mark.parametrize(("bits", "packed"), [(12, False), (8, False), (8, True)])
def test_first_input_value_below_zero(implicit, representation, bits, packed):
    for tags, pixels in (
        ({"RescaleSlope": 1, "RescaleIntercept": -1024}, PIXELS),
        ({}, (PIXELS.astype(np.int16) - 1024).astype(np.int16)),
    ):
        file = dicom_bytes(
            pixels,
            BitsStored=12 if tags else 16,
            VOILUTSequence=lut(-1024, bits=bits, representation=representation, packed=packed),
            **tags,
        )
        if implicit:
            dicom = pydicom.dcmread(io.BytesIO(file))
            dicom.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
            dicom.save_as(buffer := io.BytesIO(), implicit_vr=True, little_endian=True)
            file = buffer.getvalue()
        entries = np.arange(4096) >> (12 - bits)
        expected = np.rint(255 * entries[PIXELS] / entries.max())
        np.testing.assert_array_equal(read_dicom(file, name="a"), expected)


def test_table_behind_a_negative_slope():
    tags = {"RescaleSlope": -1, "RescaleIntercept": 0, "VOILUTSequence": lut(-4095, bits=12, representation="US")}
    np.testing.assert_array_equal(
        read_dicom(dicom_bytes(PIXELS, BitsStored=12, **tags), name="a"),
        np.rint(255 * (4095 - PIXELS.astype(float)) / 4095),
    )


def test_modality_table_of_signed_pixels():
    signed = (PIXELS.astype(np.int16) - 2048).astype(np.int16)
    data = dicom_bytes(signed, BitsStored=12, ModalityLUTSequence=lut(-2048, bits=12, representation="US"))
    np.testing.assert_array_equal(read_dicom(data, name="a"), GREY)


def test_damaged_table_is_left_out():
    item = table([0, 1, 2], first=0, bits=16)
    item[0].LUTDescriptor = [4000, 0, 16]
    picture = dicom_picture(dicom_bytes(PIXELS, BitsStored=12, VOILUTSequence=item), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert picture.notes == ("its VOI table is damaged: read without it",)


def test_table_of_every_encoding():
    entries = np.arange(4096) >> 4
    for syntax, order in (
        (uid.ImplicitVRLittleEndian, "<u2"),
        (uid.ExplicitVRLittleEndian, "<u2"),
        (uid.ExplicitVRBigEndian, ">u2"),
    ):
        for bits in (16, 8):
            item = Dataset()
            item.add_new("LUTDescriptor", "US", [4096, 0, bits])
            item.add_new("LUTData", "OW", entries.astype(order).tobytes())
            data = dicom_bytes(PIXELS, BitsStored=12, syntax=syntax, VOILUTSequence=[item])
            np.testing.assert_array_equal(read_dicom(data, name="a"), entries[PIXELS], err_msg=f"{syntax} {bits}")
