"""Whole kinds of amiss DICOM files, made here from one picture: each is read right, or named."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import dicom_bytes, frame, table
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder

from data_pipelines.images import read_image
from data_pipelines.images.dicom import dicom_picture, read_dicom
from data_pipelines.images.dicom_streams import stream_of
from data_pipelines.images.policy import ImagePolicy
from medslip_jax.errors import InputError

STREAMS = Path(__file__).parent / "streams"
# What the streams in that folder hold (made with imagecodecs 2026.3.6), 12 bits; those called "overlay" have bit 15 set
# along the diagonal.
_I, _J = np.indices((32, 32))
PIXELS = ((_I * 97 + _J * 31) % 4096).astype(np.uint16)
OVERLAY = PIXELS | np.where(np.abs(_I - _J) < 3, 0x8000, 0).astype(np.uint16)
GREY = read_dicom(dicom_bytes(PIXELS, BitsStored=12), name="plain")
NO_SYNTAX = "states no TransferSyntaxUID"


def streams(kind: str) -> dict[str, tuple[bytes, str]]:
    """transfer syntax -> (frame of that kind, its UID), for every one that a plug-in here reads."""
    pixels = {"plain": PIXELS, "overlay": OVERLAY}[kind]
    made = {"JPEG 2000": (frame(pixels, "JPEG2000", no_jp2=True), uid.JPEG2000Lossless)}
    named = {"jpeg_lossless": uid.JPEGLossless, "jpeg_ls": uid.JPEGLSLossless, "htj2k": uid.HTJ2KLossless}
    for name, syntax in named.items():
        if get_decoder(syntax).is_available:
            made[name] = ((STREAMS / f"{name}_{kind}.bin").read_bytes(), syntax)
    return made


def without(data: bytes, *keywords: str) -> bytes:
    """The same file without these elements."""
    dicom = pydicom.dcmread(io.BytesIO(data))
    for keyword in keywords:
        delattr(dicom, keyword)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dicom, enforce_file_format=False)
    return file.getvalue()


def without_syntax(data: bytes) -> bytes:
    """Without TransferSyntaxUID, group length corrected."""
    dicom = pydicom.dcmread(io.BytesIO(data))
    text = dicom.file_meta.TransferSyntaxUID
    text = text.encode() + b"\0" * (len(text) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(text)) + text
    assert data.count(element) == 1
    length = struct.unpack_from("<I", data, 140)[0] - len(element)
    data = data.replace(element, b"")
    return data[:140] + struct.pack("<I", length) + data[144:]


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
    burned = ((signed & 0x0FFF) | np.where(np.abs(_I - _J) < 3, 0x4000, 0)).astype(np.int16)
    np.testing.assert_array_equal(read_dicom(dicom_bytes(signed, BitsStored=12), name="a"), GREY)
    picture = dicom_picture(dicom_bytes(burned, BitsStored=12), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert len(picture.notes) == 1
    # Without the upper bits of the sign, and nothing else in them, there is nothing to tell.
    assert dicom_picture(dicom_bytes(signed & 0x0FFF, BitsStored=12), name="a").notes == ()


def test_values_in_the_upper_bits_are_moved_down():
    dicom = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS << 4, BitsStored=12)))
    dicom.HighBit = 15
    dicom.save_as(file := io.BytesIO())
    picture = dicom_picture(file.getvalue(), name="a")
    np.testing.assert_array_equal(picture.pixels, GREY)
    assert picture.notes == ("HighBit is 15 of 12 bits stored: the lower bits are left out",)


def test_lossy_overshoot_is_clipped_and_not_wrapped():
    steps = np.where(_J < 16, 0, 4095).astype(np.uint16)
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


def test_polarity_of_an_untagged_file_follows_the_presentation_shape():
    data = without(dicom_bytes(PIXELS, BitsStored=12, PresentationLUTShape="INVERSE"), "PhotometricInterpretation")
    np.testing.assert_array_equal(read_dicom(data, name="a"), 255 - GREY)


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


def lut(first: int, *, bits: int, representation: str, packed: bool = False) -> list[Dataset]:
    """A rising table of 4096 entries whose first input value is written with that VR."""
    entries = np.arange(4096) >> (12 - bits)
    item = Dataset()
    if representation == "US":
        item.add_new("LUTDescriptor", "US", [4096, first & 0xFFFF, bits])
    else:
        item.add_new("LUTDescriptor", "SS", [4096, first, bits])
    data = entries.astype(np.uint8 if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", data)
    return [item]


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


@pytest.mark.parametrize("what", ["sr", "key objects"])
def test_reports_and_key_objects_have_no_image(what):
    icon = pydicom.dcmread(io.BytesIO(dicom_bytes(np.zeros((4, 4), np.uint8))))
    syntax = {"sr": uid.ComprehensiveSRStorage, "key objects": uid.KeyObjectSelectionDocumentStorage}[what]
    data = dicom_bytes(PIXELS, PixelData=None, SOPClassUID=syntax, IconImageSequence=[Dataset(icon)])
    assert b"\xe0\x7f\x10\x00" in data
    with pytest.raises(InputError, match=rf"no image in it, .*{syntax.name}"):
        dicom_picture(data, name="a")


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


def test_signed_pixels_behind_an_unsigned_stream():
    signed = (PIXELS.astype(np.int16) - 2048).astype(np.int16)
    for burned in (signed & 0x0FFF, (signed & 0x0FFF) | np.where(np.abs(_I - _J) < 3, 0x4000, 0).astype(np.int16)):
        coded = frame(burned.astype(np.uint16), "JPEG2000", no_jp2=True)
        data = dicom_bytes(signed, encoded=(coded, uid.JPEG2000Lossless), BitsStored=12)
        np.testing.assert_array_equal(read_dicom(data, name="a"), GREY)


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


def test_eight_bit_stream_of_sixteen_allocated():
    grey = (PIXELS >> 4).astype(np.uint8)
    coded = frame(grey, "JPEG", quality=95)
    data = dicom_bytes(PIXELS, encoded=(coded, uid.JPEGBaseline8Bit), BitsStored=12)
    picture = dicom_picture(data, name="a")
    assert np.abs(picture.pixels.astype(int) - grey).max() <= 8
    assert picture.notes == ("BitsAllocated (0028,0100) is 16, its compressed image has 8",)


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
