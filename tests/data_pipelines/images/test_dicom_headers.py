"""Elements, transfer syntaxes and delimiters that are missing or wrong: read right, or named."""

import io
import struct
import zlib

import numpy as np
import pydicom
import pytest
from dicom_files import GREY, NO_SYNTAX, PIXELS, dicom_bytes, frame, lut, streams, without, without_syntax
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset

from data_pipelines import phantom
from data_pipelines.images import read_image
from data_pipelines.images.dicom import dicom_picture, read_dicom
from medslip_jax.errors import InputError


@pytest.mark.parametrize("cut", [8, 7, 4, 1])
def test_missing_delimiter_of_every_encapsulated_syntax(cut):
    files = {name: dicom_bytes(PIXELS, encoded=encoded, BitsStored=12) for name, encoded in streams("plain").items()}
    files["RLE"] = dicom_bytes(PIXELS, compress=uid.RLELossless, BitsStored=12)
    for name, data in files.items():
        assert data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
        picture = dicom_picture(data[:-cut], name=name)
        np.testing.assert_array_equal(picture.pixels, GREY, err_msg=name)
        assert len(picture.notes) <= 1 and (cut < 5) == (picture.notes == ())
        for inside in (20, 100, 200):  # the stream itself is cut
            with pytest.raises(InputError, match="ends within its pixel data; get the file again"):
                dicom_picture(data[:-inside], name=name)


def test_delimiter_within_a_stream_does_no_harm():
    grey = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    coded = frame(grey, "JPEG", quality=90)
    comment = b"\xff\xfe" + struct.pack(">H", 10) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data = dicom_bytes(grey, encoded=(coded[:2] + comment + coded[2:], uid.JPEGBaseline8Bit))
    whole = dicom_bytes(grey, encoded=(coded, uid.JPEGBaseline8Bit))
    np.testing.assert_array_equal(read_dicom(data, name="a"), read_dicom(whole, name="a"))


def test_frame_in_several_fragments_without_its_delimiter():
    from pydicom.encaps import encapsulate

    for name, (coded, syntax) in streams("plain").items():
        dicom = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS, encoded=(coded, syntax), BitsStored=12)))
        for has_bot in (True, False):
            dicom.PixelData = encapsulate([coded], fragments_per_frame=3, has_bot=has_bot)
            dicom.save_as(file := io.BytesIO())
            for cut in (0, 8):
                data = file.getvalue()[: len(file.getvalue()) - cut]
                np.testing.assert_array_equal(read_dicom(data, name=name), GREY, err_msg=name)


def test_fragment_of_an_odd_length():
    for name, (coded, syntax) in streams("plain").items():
        odd = coded if len(coded) % 2 else coded + b"\0"
        data = dicom_bytes(PIXELS, encoded=(odd, syntax), BitsStored=12)
        counted = struct.pack("<I", len(odd) + 1)
        assert data.count(counted) == 1
        data = data.replace(counted, struct.pack("<I", len(odd)))
        for cut in (0, 8):
            np.testing.assert_array_equal(read_dicom(data[: len(data) - cut], name=name), GREY, err_msg=name)


def test_no_transfer_syntax_is_told_by_the_bytes():
    for name, encoded in streams("plain").items():
        data = without_syntax(dicom_bytes(PIXELS, encoded=encoded, BitsStored=12))
        picture = dicom_picture(data, name=name)
        np.testing.assert_array_equal(picture.pixels, GREY, err_msg=name)
        assert NO_SYNTAX in picture.notes[0] and encoded[1].name in picture.notes[0]
    rle = without_syntax(dicom_bytes(PIXELS, compress=uid.RLELossless, BitsStored=12))
    np.testing.assert_array_equal(read_dicom(rle, name="RLE"), GREY)
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        data = without_syntax(dicom_bytes(PIXELS, BitsStored=12, syntax=syntax))
        picture = dicom_picture(data, name=syntax.name)
        np.testing.assert_array_equal(picture.pixels, GREY, err_msg=syntax.name)
        assert NO_SYNTAX in picture.notes[0] and syntax.name in picture.notes[0]


def test_no_transfer_syntax_of_a_deflated_data_set():
    whole = dicom_bytes(PIXELS, BitsStored=12)
    start = 144 + struct.unpack_from("<I", whole, 140)[0]
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(whole[start:]) + packer.flush()
    picture = dicom_picture(without_syntax(whole[:start] + body), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert NO_SYNTAX in picture.notes[0]
    with pytest.raises(InputError, match="ends within its deflated data set"):
        dicom_picture(without_syntax(whole[:start] + body[:-9]), name="a")


def test_stream_of_another_kind_than_stated():
    data = dicom_bytes(PIXELS, encoded=(streams("plain")["JPEG 2000"][0], uid.JPEGBaseline8Bit), BitsStored=12)
    picture = dicom_picture(data, name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert picture.notes == (
        "the header says JPEG Baseline (Process 1); by its stream it is JPEG 2000 Image Compression (Lossless Only)",
    )
    unknown = without_syntax(dicom_bytes(PIXELS, encoded=(b"no such stream", uid.JPEGBaseline8Bit), BitsStored=12))
    with pytest.raises(
        InputError, match=r"no TransferSyntaxUID \(0002,0010\), and its compressed pixels are of no known"
    ):
        dicom_picture(unknown, name="a")


def test_files_without_the_preamble_are_dicom():
    data = dicom_bytes(PIXELS, BitsStored=12)
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    for cut in (132, start):  # with the header's own group, and without
        np.testing.assert_array_equal(read_image(data[cut:]).grey, GREY)


@pytest.mark.parametrize(
    "keyword", ["PixelRepresentation", "SamplesPerPixel", "HighBit", "BitsAllocated", "PhotometricInterpretation"]
)
def test_missing_element_has_its_obvious_value(keyword):
    for name, encoded in {"plain": None, **streams("plain")}.items():
        picture = dicom_picture(without(dicom_bytes(PIXELS, encoded=encoded, BitsStored=12), keyword), name=name)
        np.testing.assert_array_equal(picture.pixels, GREY, err_msg=name)
        assert [note.startswith(f"no {keyword} (") for note in picture.notes] == [True]


def test_missing_bits_stored_follow_the_high_bit_or_the_stream():
    whole = dicom_bytes(PIXELS, BitsStored=12)
    picture = dicom_picture(without(whole, "BitsStored"), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert picture.notes == ("no BitsStored (0028,0101): taken as 12",)
    both = dicom_picture(without(whole, "BitsStored", "HighBit"), name="a")
    np.testing.assert_array_equal(both.pixels, GREY)  # the image's own range, whatever the bits
    assert len(both.notes) == 2


def test_missing_size_is_told_by_the_stream_or_named():
    for name, encoded in streams("plain").items():
        data = without(dicom_bytes(PIXELS, encoded=encoded, BitsStored=12), "Rows", "Columns")
        np.testing.assert_array_equal(read_dicom(data, name=name), GREY, err_msg=name)
    with pytest.raises(
        InputError, match=r"no Columns \(0028,0011\), which nothing else tells\); write it into the file"
    ):
        dicom_picture(without(dicom_bytes(PIXELS), "Columns"), name="a")


def test_size_of_a_stream_that_is_another_is_refused_before_it_is_decoded():
    data = dicom_bytes(PIXELS[:16], encoded=streams("plain")["JPEG 2000"], BitsStored=12)
    with pytest.raises(InputError, match=r"Rows \(0028,0010\) is 16, its compressed image has 32"):
        dicom_picture(data, name="a")


def test_missing_planar_configuration_and_kind_of_colour():
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    whole = read_dicom(dicom_bytes(colour), name="a")
    for keyword in ("PlanarConfiguration", "PhotometricInterpretation", "SamplesPerPixel"):
        picture = dicom_picture(without(dicom_bytes(colour), keyword), name="a")
        np.testing.assert_array_equal(picture.pixels, whole)
        assert [note.startswith(f"no {keyword} (") for note in picture.notes] == [True]


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("compress", ["", uid.RLELossless])
def test_sign_that_is_not_stated_is_seen(bits, compress):
    grey = phantom.draw(3, size=64).image.astype(np.int16) * 16
    signed = grey - 2048
    expected = read_dicom(dicom_bytes(signed, BitsStored=bits), name="a")
    data = without(dicom_bytes(signed, BitsStored=bits, compress=compress), "PixelRepresentation")
    picture = dicom_picture(data, name="a")
    np.testing.assert_array_equal(picture.pixels, expected)
    assert "even as signed values" in picture.notes[1]
    unsigned = without(dicom_bytes(grey.astype(np.uint16), BitsStored=bits), "PixelRepresentation")
    assert len(dicom_picture(unsigned, name="a").notes) == 1


def test_samples_and_kind_of_colour_that_do_not_fit():
    grey = (PIXELS >> 4).astype(np.uint8)
    planes = np.repeat(grey[..., None], 3, axis=2)
    coded = (frame(planes, "JPEG", quality=100, subsampling=0), uid.JPEGBaseline8Bit)
    for name, data in {
        "three": dicom_bytes(planes, PhotometricInterpretation="MONOCHROME2"),
        "one": dicom_bytes(grey, PhotometricInterpretation="RGB"),
        "neither": without(dicom_bytes(planes), "SamplesPerPixel", "PhotometricInterpretation"),
        "stream": dicom_bytes(planes, encoded=coded, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"),
    }.items():
        reading = read_image(data)
        assert np.abs(reading.grey.astype(int) - grey).max() <= 3 and reading.colour == 0, name
        assert 1 <= len(reading.notes) <= 3, name


def test_planes_that_are_not_stated_are_seen():
    grey = phantom.draw(3, size=64).image
    colour = np.stack([grey, grey // 2, 255 - grey], axis=2)
    for planar, data in ((0, colour), (1, colour.transpose(2, 0, 1))):
        file = dicom_bytes(colour, PlanarConfiguration=planar, PixelData=data.tobytes())
        picture = dicom_picture(without(file, "PlanarConfiguration"), name="a")
        np.testing.assert_array_equal(picture.pixels, colour)
        assert len(picture.notes) == 1 + planar


def test_polarity_of_an_untagged_file_follows_the_presentation_shape():
    data = without(dicom_bytes(PIXELS, BitsStored=12, PresentationLUTShape="INVERSE"), "PhotometricInterpretation")
    np.testing.assert_array_equal(read_dicom(data, name="a"), 255 - GREY)


@pytest.mark.parametrize("what", ["sr", "key objects"])
def test_reports_and_key_objects_have_no_image(what):
    icon = pydicom.dcmread(io.BytesIO(dicom_bytes(np.zeros((4, 4), np.uint8))))
    syntax = {"sr": uid.ComprehensiveSRStorage, "key objects": uid.KeyObjectSelectionDocumentStorage}[what]
    data = dicom_bytes(PIXELS, PixelData=None, SOPClassUID=syntax, IconImageSequence=[Dataset(icon)])
    assert b"\xe0\x7f\x10\x00" in data
    with pytest.raises(InputError, match=rf"no image in it, .*{syntax.name}"):
        dicom_picture(data, name="a")


def test_image_that_ends_in_its_header_is_to_be_got_again():
    with pytest.raises(InputError, match=r"no image in it, .* leave it out, or get it again if it should have one"):
        dicom_picture(dicom_bytes(PIXELS, PixelData=None), name="a")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 255), st.sampled_from(["plain", "rle", "table"]))
def test_any_changed_byte_is_read_or_named(place, value, kind):
    small = PIXELS[:16, :16]
    made = {
        "plain": {"WindowCenter": 2048, "WindowWidth": 4096, "PixelPaddingValue": 7},
        "rle": {"compress": uid.RLELossless},
        "table": {"VOILUTSequence": lut(0, bits=12, representation="US")},
    }
    data = bytearray(dicom_bytes(small, BitsStored=12, **made[kind]))
    data[132 + place % (len(data) - 132)] = value
    try:
        grey = read_image(bytes(data), name="a").grey
    except InputError as error:
        assert "\n" not in str(error) and str(error).startswith("a: ")
    else:
        assert grey.ndim == 2 and grey.dtype == np.uint8
