import dataclasses
import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from data_pipelines import images
from data_pipelines.images import reading
from data_pipelines.images.policy import ImagePolicy
from medslip_jax.errors import InputError, from_section

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))  # 48 x 64


def pillow_bytes(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def test_png_is_read_exactly_and_jpeg_closely(tmp_path):
    (tmp_path / "a.png").write_bytes(images.encode_grey(RAMP, kind="png"))
    np.testing.assert_array_equal(images.read_grey(tmp_path / "a.png"), RAMP)
    jpeg = images.encode_grey(RAMP)
    assert np.abs(images.read_grey(jpeg).astype(int) - RAMP).max() <= 2
    np.testing.assert_array_equal(images.decode_grey(jpeg, name="a"), cv2.imdecode(np.frombuffer(jpeg, np.uint8), 0))


def test_sixteen_bits_are_scaled_not_clipped():
    pixels = np.array([[0, 128, 257 * 100, 65535]], np.uint16)
    data = pillow_bytes(Image.fromarray(pixels))
    np.testing.assert_array_equal(images.read_grey(data), [[0, 0, 100, 255]])


def test_sixteen_bits_can_be_stretched():
    data = pillow_bytes(Image.fromarray(np.array([[1000, 2000, 5080]], np.uint16)))
    np.testing.assert_array_equal(images.read_grey(data, policy=ImagePolicy(sixteen_bit="stretch")), [[0, 62, 255]])


@settings(max_examples=50)
@given(
    hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)), st.sampled_from(["full", "stretch"])
)
def test_sixteen_bits_keep_their_order_and_never_wrap(pixels, sixteen_bit):
    grey = images.read_grey(pillow_bytes(Image.fromarray(pixels)), policy=ImagePolicy(sixteen_bit=sixteen_bit))
    order = np.argsort(pixels.ravel(), kind="stable")
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()
    if sixteen_bit == "full":
        assert np.abs(grey - pixels / 257).max() <= 0.5 + 1e-4
    elif np.ptp(pixels.astype(int)):
        assert grey.min() == 0 and grey.max() == 255


def test_one_value_image_can_be_stretched():
    data = pillow_bytes(Image.fromarray(np.full((2, 2), 700, np.uint16)))
    np.testing.assert_array_equal(images.read_grey(data, policy=ImagePolicy(sixteen_bit="stretch")), np.zeros((2, 2)))


def test_colour_transparency_and_palette_become_grey():
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert images.read_grey(pillow_bytes(red))[0, 0] == 76  # 0.299 * 255
    half = Image.new("RGBA", (2, 2), (200, 200, 200, 128))  # over black: 200 * 128 / 255 = 100.4
    assert images.read_grey(pillow_bytes(half))[0, 0] == 100
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 90, 90, 90])
    assert images.read_grey(pillow_bytes(palette))[0, 0] == 90
    assert images.read_grey(pillow_bytes(Image.new("1", (2, 2), 1)))[0, 0] == 255
    assert images.read_grey(pillow_bytes(Image.new("LA", (2, 2), (50, 255))))[0, 0] == 50


def test_transparent_colour_key_lies_on_black():
    for mode, key, expected in (("L", 200, 0), ("RGB", (9, 9, 9), 0), ("RGB", (9, 9, 8), 9)):
        image = Image.new(mode, (2, 2), 200 if mode == "L" else (9, 9, 9))
        assert images.read_grey(pillow_bytes(image, transparency=key))[0, 0] == expected


def test_share_of_colour():
    half = np.full((64, 64, 3), 90, np.uint8)
    half[:32] = (200, 30, 30)
    assert images.read_image(pillow_bytes(Image.fromarray(half))).colour == 0.5
    cmyk = images.read_image(pillow_bytes(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert cmyk.colour == 1 and abs(int(cmyk.grey[0, 0]) - 76) < 3
    assert images.read_image(images.encode_grey(RAMP)).colour == 0


def test_inverted_data_set():
    data = images.encode_grey(RAMP, kind="png")
    for polarity, expected in (("tagged", RAMP), ("as_stored", RAMP), ("inverted", 255 - RAMP)):
        np.testing.assert_array_equal(images.read_grey(data, policy=ImagePolicy(polarity=polarity)), expected)


def test_equalised_as_released():
    data = images.encode_grey(np.array([[0, 10, 10, 20]], np.uint8), kind="png")
    grey = images.read_grey(data, policy=ImagePolicy(equalise="released_rsna"))
    assert grey.tolist() == [[63, 127, 127, 255]]  # the docstring says how
    # 10 of 30 lies at 256 / 3 = 85.33 bins, between the middles of 84 (share 1/4) and 85 (3/4): 1/4 + .8333 / 2 = 2/3.
    assert reading.equalise_as_released(np.array([[0, 10, 10, 30]], np.uint8)).tolist() == [[63, 170, 170, 255]]
    assert np.ptp(reading.equalise_as_released(np.full((2, 2), 7, np.uint8))) == 0


def test_fit_follows_the_policy():
    image = np.zeros((512, 640), np.uint8)
    assert images.fit(image, 256).shape == (256, 320)
    assert images.fit(image, 256, policy=ImagePolicy(resize="squash")).shape == (256, 256)


def test_policy_is_json_and_checked():
    policy = ImagePolicy(voi="none", polarity="as_stored")
    assert from_section(ImagePolicy, json.loads(json.dumps(dataclasses.asdict(policy))), name="image") == policy
    for field in dataclasses.fields(ImagePolicy):
        with pytest.raises(InputError, match=rf"image.{field.name}='clip': must be one of .*{field.default}"):
            ImagePolicy(**{field.name: "clip"})


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to show"
    data = pillow_bytes(Image.fromarray(RAMP), "JPEG", quality=100, exif=exif)
    shown = images.read_grey(data)
    assert shown.shape == (64, 48)
    assert np.abs(shown.astype(int) - np.rot90(RAMP, -1)).max() <= 2


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_file_is_refused_by_both_readers(tmp_path, kind, share):
    whole = images.encode_grey(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8), kind=kind)
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError) as caught:
        images.read_grey(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="row 7: image is corrupt or truncated"):
        images.decode_grey(path.read_bytes(), name="row 7")


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.png: cannot read the image \(No such file"):
        images.read_grey(tmp_path / "gone.png")
    with pytest.raises(InputError, match="cannot read the image"):
        images.read_grey(tmp_path)
    with pytest.raises(InputError, match=r"cannot read the image \(embedded null byte\)"):
        images.read_grey("a\0.png")
    (tmp_path / "note.png").write_text("not an image")
    with pytest.raises(InputError, match=r"note.png: not a readable JPEG, PNG or DICOM image"):
        images.read_grey(tmp_path / "note.png")
    gif = pillow_bytes(Image.new("L", (2, 2)), "GIF")
    with pytest.raises(InputError, match="upload 3: not a readable"):
        images.read_grey(gif, name="upload 3")


def test_corrupt_middle_of_a_png_is_refused():
    data = bytearray(
        images.encode_grey(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8), kind="png")
    )
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InputError):
        images.read_grey(bytes(data))


@settings(max_examples=50)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", bytes(128) + b"DICM"]),
)
def test_any_bytes_give_an_input_error(data, start):
    with pytest.raises(InputError):
        images.read_grey(start + data)


@settings(max_examples=50)
@given(st.integers(6, 90), st.integers(6, 90), st.integers(1, 64))
def test_short_side_and_aspect(height, width, size):
    resized = reading.resize_short_side(np.zeros((height, width), np.uint8), size)
    assert min(resized.shape) == size
    long, short = max(height, width), min(height, width)
    assert 2 * abs(max(resized.shape) * short - long * size) <= short  # half a pixel, in whole numbers


def test_strips_are_refused():
    assert reading.resize_short_side(np.zeros((2, 32), np.uint8), 4).shape == (4, 64)
    with pytest.raises(InputError, match="image of 33 x 2 pixels: one side is over 16 times the other"):
        reading.resize_short_side(np.zeros((2, 33), np.uint8), 4)


def test_resize_examples():
    assert reading.resize_short_side(np.zeros((512, 640), np.uint8), 256).shape == (256, 320)
    assert images.squash(np.zeros((512, 640), np.uint8), 224).shape == (224, 224)
    assert images.squash(RAMP, 64).dtype == np.uint8
    checks = np.indices((64, 64)).sum(0) % 2 * 255  # finer than the target can hold: must turn grey, not alias
    assert np.ptp(images.squash(checks.astype(np.uint8), 16).astype(int)) < 30


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_only_grey_uint8_is_encoded(image):
    with pytest.raises(InputError, match="expected uint8"):
        images.encode_grey(image)


def test_image_beyond_the_format_is_refused():
    strip = np.zeros((1, 65501), np.uint8)  # JPEG: 65500 at most
    with pytest.raises(InputError, match=r"an image of \(1, 65501\) does not fit into a jpeg file"):
        images.encode_grey(strip)
    assert images.decode_grey(images.encode_grey(strip, kind="png"), name="strip").shape == strip.shape


def test_encoding_kind_is_checked():
    with pytest.raises(InputError, match="kind='webp'"):
        images.encode_grey(RAMP, kind="webp")
