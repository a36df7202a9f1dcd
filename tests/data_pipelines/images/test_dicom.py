import base64
import io

import numpy as np
import pydicom
import pytest
from dicom_files import dicom_bytes, frame, table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydicom import uid
from pydicom.pixels import get_decoder

from data_pipelines import images
from data_pipelines.images.checks import suspicions
from data_pipelines.images.dicom import read_dicom
from data_pipelines.images.policy import ImagePolicy
from medslip_jax.errors import InputError

WINDOW = {"WindowCenter": 500.5, "WindowWidth": 1001}  # LINEAR: 0 and below is black, 1000 and above white
VOI = table([0, 50, 100, 200], first=10, bits=8)
RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))  # 48 x 64


def read(pixels, *, policy=ImagePolicy(), **tags) -> list:
    return read_dicom(dicom_bytes(np.atleast_2d(pixels), **tags), name="a.dcm", policy=policy)[0].tolist()


@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [
        (np.array([3, 100, 200], np.uint8), 8, [3, 100, 200]),  # as stored, as in a PNG
        (np.array([0, 64, 127], np.uint8), 7, [0, 129, 255]),
        (np.array([-128, 0, 127], np.int8), 8, [0, 128, 255]),
        (np.array([100, 600, 2100], np.uint16), 12, [0, 64, 255]),  # the image's own range
        (np.array([0, 16384, 65535], np.uint16), 16, [0, 64, 255]),
        (np.array([-1000, 0, 3000], np.int16), 16, [0, 64, 255]),
        (np.array([-2048, 2047], np.int16), 12, [0, 255]),
        (np.array([700, 700], np.uint16), 12, [0, 0]),
    ],
)
def test_depth_and_sign(pixels, bits, expected):
    assert read(pixels, BitsStored=bits) == expected
    assert read(pixels, BitsStored=bits, PhotometricInterpretation="MONOCHROME1") == [255 - v for v in expected]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (WINDOW, [0, 64, 255, 255]),
        ({"WindowCenter": [500.5, 9], "WindowWidth": [1001, 2]}, [0, 64, 255, 255]),  # the first of several
        ({"WindowCenter": 500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}, [0, 64, 255, 255]),
        (
            {"WindowCenter": 250, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
            [69, 128, 243, 255],
        ),  # 1/(1+e) is .27
        ({"WindowCenter": 3000, "WindowWidth": 8001}, [32, 40, 64, 159]),  # wider than the image: not stretched
        ({"WindowCenter": None, "WindowWidth": 1001}, [0, 16, 64, 255]),
        ({"WindowCenter": 500.5, "WindowWidth": ""}, [0, 16, 64, 255]),
    ],
)
def test_window_and_then_inversion(tags, expected):
    tags = {tag: value for tag, value in tags.items() if value is not None}
    pixels = np.array([0, 250, 1000, 4000], np.uint16)
    assert read(pixels, BitsStored=12, **tags) == expected
    inverted = read(pixels, BitsStored=12, PhotometricInterpretation="MONOCHROME1", **tags)
    np.testing.assert_allclose(inverted, 255 - np.array(expected), atol=1)  # 127.5 rounds to 128 on both sides


def test_narrow_window_counts_half_steps():
    # LINEAR of 10 / 4 is black up to 8 and white from 11: (x - 9.5) / 3 + 0.5.
    pixels = np.arange(7, 13, dtype=np.uint16)
    assert read(pixels, WindowCenter=10, WindowWidth=4) == [0, 0, 85, 170, 255, 255]
    assert read(pixels, WindowCenter=10, WindowWidth=4, VOILUTFunction="LINEAR_EXACT") == [0, 0, 64, 128, 191, 255]


def test_tables_and_the_choice_between_them():
    pixels = np.array([5, 10, 11, 12, 13, 4000], np.uint16)
    by_table, by_window, by_range = [0, 0, 64, 128, 255, 255], [1, 3, 3, 3, 3, 255], [0, 0, 0, 0, 1, 255]
    both = {"BitsStored": 12, "VOILUTSequence": VOI, **WINDOW}
    assert read(pixels, **both) == by_table
    assert read(pixels, policy=ImagePolicy(voi="window"), **both) == by_window
    assert read(pixels, policy=ImagePolicy(voi="none"), **both) == by_range
    assert read(pixels, policy=ImagePolicy(voi="window"), BitsStored=12, VOILUTSequence=VOI) == by_table
    assert read(pixels, BitsStored=12, **WINDOW) == by_window
    packed = table([0], first=10, bits=8)
    packed[0].LUTDescriptor = [4, 10, 8]
    packed[0].add_new("LUTData", "OW", bytes([0, 50, 100, 200]))  # two entries a word
    assert read(pixels, BitsStored=12, VOILUTSequence=packed) == by_table


def test_window_lies_on_modality_values():
    rescaled = {"RescaleSlope": 2, "RescaleIntercept": -1000, **WINDOW}
    assert read(np.array([500, 625, 1000], np.uint16), **rescaled) == [0, 64, 255]
    looked_up = {"ModalityLUTSequence": table([0, 250, 1000], first=7, bits=16), **WINDOW}
    assert read(np.array([6, 7, 8, 9, 10], np.uint16), **looked_up) == [0, 0, 64, 255, 255]
    negative = {"RescaleSlope": -1, "RescaleIntercept": 0}
    assert read(np.array([0, 100, 255], np.uint8), **negative) == [255, 155, 0]
    assert read(np.array([0, 25, 100], np.uint16), **negative) == [255, 191, 0]


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (np.array([100, 600, 2100, 65535], np.uint16), {"PixelPaddingValue": 65535}),
        (np.array([100, 600, 2100, 9000], np.uint16), {"PixelPaddingValue": 9500, "PixelPaddingRangeLimit": 8000}),
        (np.array([100, 600, 2100, -2000], np.int16), {"PixelPaddingValue": -2000}),
    ],
)
def test_padding_is_black_and_does_not_widen_the_range(pixels, tags):
    assert read(pixels, **tags) == [0, 64, 255, 0]
    assert read(pixels, PhotometricInterpretation="MONOCHROME1", **tags) == [255, 191, 0, 0]
    assert read(np.full(2, pixels[3]), **tags) == [0, 0]


def test_padding_may_be_written_unsigned():
    data = dicom_bytes(np.array([[100, 600, 2100, -2000]], np.int16))
    dicom = pydicom.dcmread(io.BytesIO(data))
    dicom.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dicom.save_as(file := io.BytesIO())
    assert read_dicom(file.getvalue(), name="a")[0].tolist() == [0, 64, 255, 0]


def test_polarity_overrides_the_tag():
    pixels, tag = np.array([0, 100, 255], np.uint8), {"PhotometricInterpretation": "MONOCHROME1"}
    data = dicom_bytes(pixels[None], **tag)
    for polarity, expected in {"tagged": 255 - pixels, "as_stored": pixels, "inverted": 255 - pixels}.items():
        np.testing.assert_array_equal(images.read_grey(data, policy=ImagePolicy(polarity=polarity))[0], expected)


@settings(max_examples=60)
@given(
    st.one_of(
        *(hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)) for kind in ("u1", "u2", "i1", "i2"))
    ),
    st.sampled_from([{}, WINDOW, {"RescaleSlope": 0.5, "RescaleIntercept": 3}]),
)
def test_order_is_kept_and_nothing_wraps(pixels, tags):
    grey = read_dicom(dicom_bytes(pixels, **tags), name="a").ravel().astype(int)
    order = np.argsort(pixels.ravel(), kind="stable")
    assert (np.diff(grey[order]) >= 0).all()
    if "WindowCenter" not in tags and pixels.dtype.itemsize == 2 and np.ptp(pixels.astype(int)):
        assert grey.min() == 0 and grey.max() == 255


def test_what_our_requirements_decode():
    deep = (RAMP.astype(np.uint16) * 16) + np.arange(48, dtype=np.uint16)[:, None]
    plain = read_dicom(dicom_bytes(deep, BitsStored=12), name="a")
    rle = dicom_bytes(deep, BitsStored=12, compress=uid.RLELossless)
    np.testing.assert_array_equal(read_dicom(rle, name="a"), plain)
    lossless = dicom_bytes(deep, encoded=(frame(deep, "JPEG2000", no_jp2=True), uid.JPEG2000Lossless), BitsStored=12)
    np.testing.assert_array_equal(read_dicom(lossless, name="a"), plain)
    jpeg = frame(RAMP, "JPEG", quality=95)
    baseline = read_dicom(dicom_bytes(RAMP, encoded=(jpeg, uid.JPEGBaseline8Bit)), name="a")
    np.testing.assert_array_equal(baseline, np.asarray(Image.open(io.BytesIO(jpeg))))
    assert np.abs(baseline.astype(int) - RAMP).max() <= 2


@pytest.mark.parametrize(
    ("syntax", "bits", "package"),
    [
        (uid.JPEGLossless, 16, "python-gdcm"),
        (uid.JPEGLosslessSV1, 16, "python-gdcm"),
        (uid.JPEGLSLossless, 16, "pyjpegls"),
        (uid.JPEGLSNearLossless, 16, "pyjpegls"),
        (uid.HTJ2KLossless, 16, "pylibjpeg-openjpeg"),
        (uid.JPEGExtended12Bit, 12, r"dcmdjpeg of DCMTK.*pylibjpeg-libjpeg \(GPL\)"),
    ],
)
def test_missing_plug_in_is_named(syntax, bits, package):
    decoder = get_decoder(syntax)
    if decoder.is_available and (bits == 16 or "pylibjpeg" in decoder.available_plugins):
        pytest.skip(f"a plug-in for {syntax.name} is installed")
    data = dicom_bytes(np.zeros((2, 2), np.uint16), encoded=(b"\xff\xd8\xff\xd9", syntax), BitsStored=bits)
    with pytest.raises(InputError, match=rf"^a.dcm: its pixels are (JP|High).* which needs a plug-in: .*{package}"):
        read_dicom(data, name="a.dcm")


def test_jpeg_lossless_is_read_with_its_plug_in():
    if not get_decoder(uid.JPEGLosslessSV1).is_available:
        pytest.skip("no plug-in for JPEG lossless: pip install 'medslip_jax[dicom]'")
    coded = (  # by gdcmconv --jpeg: 8 x 8 of 500 row + 37 column
        "/9j/wwALEAAIAAgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAABgkQ/9oACAEBAAEAAMlSpUqVKlvolSpUqVKlvolSpUqVKlvo"
        "lSpUqVKlvolSpUqVKlvolSpUqVKlvolSpUqVKlvolSpUqVKl/9k="
    )
    pixels = np.add.outer(np.arange(8) * 500, np.arange(8) * 37).astype(np.uint16)
    data = dicom_bytes(pixels, encoded=(base64.b64decode(coded), uid.JPEGLosslessSV1), BitsStored=12)
    np.testing.assert_array_equal(read_dicom(data, name="a"), read_dicom(dicom_bytes(pixels, BitsStored=12), name="a"))


def test_colour_becomes_luma():
    red = np.full((4, 4, 3), (255, 0, 0), np.uint8)
    reading = images.read_image(dicom_bytes(red))
    assert reading.grey[0, 0] == 76 and reading.colour == 1  # 0.299 * 255
    planes = dicom_bytes(red, PlanarConfiguration=1, PixelData=red.transpose(2, 0, 1).tobytes())
    assert images.read_grey(planes)[0, 0] == 76
    deep = dicom_bytes(red.astype(np.uint16) * 257)
    assert images.read_grey(deep)[0, 0] == 76
    jpeg = (frame(red, "JPEG", quality=95), uid.JPEGBaseline8Bit)
    assert (
        abs(int(images.read_grey(dicom_bytes(red, encoded=jpeg, PhotometricInterpretation="YBR_FULL"))[0, 0]) - 76) < 3
    )
    grey = dicom_bytes(np.full((4, 4, 3), 90, np.uint8))
    assert images.read_image(grey).colour == 0 and images.read_grey(grey)[0, 0] == 90


def test_palette_is_looked_up():
    tags = {f"{c}PaletteColorLookupTableDescriptor": [2, 0, 8] for c in ("Red", "Green", "Blue")}
    tags |= {f"{c}PaletteColorLookupTableData": bytes([0, v]) for c, v in (("Red", 255), ("Green", 0), ("Blue", 0))}
    data = dicom_bytes(np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **tags)
    assert images.read_grey(data)[0].tolist() == [0, 76]


GREY = np.zeros((2, 2), np.uint16)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dicom_bytes(GREY, PixelData=None), r"DICOM without pixel data \(Computed Radiography Image Storage\); leave"),
        (dicom_bytes(GREY, NumberOfFrames=3, PixelData=bytes(24)), "DICOM with 3 frames, expected one image; export"),
        (dicom_bytes(GREY, PhotometricInterpretation="CMYK"), "photometric interpretation CMYK; export it as MONO"),
        (dicom_bytes(GREY.astype(np.uint32)), "DICOM of 32 bits a pixel, expected 1 .. 16"),
        (dicom_bytes(GREY, BitsStored=12, BitsAllocated=32, PixelData=bytes(16)), "DICOM pixels of uint32"),
        (
            dicom_bytes(GREY, PixelData=bytes(6)),
            "not a readable DICOM image .*less than expected.*; get the file again",
        ),
        (dicom_bytes(GREY, PixelData=b""), "not a readable DICOM image"),
        (dicom_bytes(GREY, Rows=None), "not a readable DICOM image"),
        (
            dicom_bytes(GREY, encoded=(b"ab", uid.MPEG2MPML)),
            "its pixels are MPEG2 .*, which nothing here decodes; export",
        ),
        (dicom_bytes(RAMP, encoded=(b"ab", uid.JPEGBaseline8Bit)), r"not a readable DICOM image \(pillow: cannot"),
    ],
)
def test_what_cannot_be_read_is_named(data, message):
    with pytest.raises(InputError, match=f"^a.dcm: .*{message}") as caught:
        read_dicom(data, name="a.dcm")
    assert "\n" not in str(caught.value)


NOISE = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
WHOLE = {
    "plain": dicom_bytes(NOISE),
    "rle": dicom_bytes(NOISE, compress=uid.RLELossless),
    "jpeg": dicom_bytes(NOISE, encoded=(frame(NOISE, "JPEG"), uid.JPEGBaseline8Bit)),
    "jpeg 2000": dicom_bytes(NOISE, encoded=(frame(NOISE, "JPEG2000", no_jp2=True), uid.JPEG2000Lossless)),
}


@settings(max_examples=60)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 0.97))
def test_truncated_file_is_refused(kind, share):
    with pytest.raises(InputError):
        images.read_grey(WHOLE[kind][: int(share * len(WHOLE[kind]))])


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", uid.JPEGBaseline8Bit), ("JPEG2000", uid.JPEG2000)])
def test_truncated_stream_in_a_whole_file_is_refused(kind, syntax):
    stream = frame(NOISE, kind, **({"no_jp2": True} if kind == "JPEG2000" else {}))
    with pytest.raises(InputError, match=r"not a readable DICOM image \(pillow: "):
        images.read_grey(dicom_bytes(NOISE, encoded=(stream[: len(stream) // 2], syntax)))


@pytest.mark.real
def test_real_files_read_right(cxr_sample):
    rsna, nema = cxr_sample / "dicom" / "rsna_16d7f894.dcm", cxr_sample / "dicom" / "nema_wg04_RG1_J2KI.dcm"
    grey = images.read_grey(rsna)
    np.testing.assert_array_equal(grey, pydicom.dcmread(rsna).pixel_array)
    # The same pixels, tagged MONOCHROME1 by mistake: a negative, unless the policy says otherwise.
    mistaken = cxr_sample / "dicom" / "rsna_16d7f894_mono1.dcm"
    np.testing.assert_array_equal(images.read_grey(mistaken), 255 - grey)
    assert suspicions(images.read_grey(mistaken)) == ["looks inverted"]
    np.testing.assert_array_equal(images.read_grey(mistaken, policy=ImagePolicy(polarity="as_stored")), grey)
    # MONOCHROME1 for good, 15 bits, window 15000 / 30000: 0.5 .. 29999.5 from white to black.
    stored = pydicom.dcmread(nema).pixel_array
    expected = np.rint(255 * (1 - ((stored - 14999.5) / 29999 + 0.5).clip(0, 1)))
    np.testing.assert_array_equal(images.read_grey(nema), expected)
    for image, spine, lung in ((grey, (400, 540), (400, 300)), (expected, (1000, 920), (800, 500))):
        assert image.shape in ((1024, 1024), (1955, 1841))
        assert (
            image[spine[0] - 40 : spine[0] + 40, spine[1]].mean()
            > 40 + image[lung[0] - 40 : lung[0] + 40, lung[1]].mean()
        )
        assert suspicions(image.astype(np.uint8)) == []


@pytest.mark.real
def test_real_file_as_released(cxr_sample):
    released = images.read_grey(
        cxr_sample / "dicom" / "rsna_16d7f894.dcm", policy=ImagePolicy(equalise="released_rsna")
    )
    # Every pixel equals scikit-image 0.26's (255 * equalize_hist(pixels / 255)).astype(uint8); some of it:
    assert released[500, 500] == 205 and released[200, 300] == 129
    assert released.mean() == pytest.approx(127.80057621002197, abs=1e-9)
