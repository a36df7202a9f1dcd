import dataclasses
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.loading import augment
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index

CONFIG = augment.AugmentConfig()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(height: int = 60, width: int = 80) -> dict:
    image = rng().integers(0, 256, (height, width), dtype=np.uint8)
    return {"image": image, "matrix": rng().integers(-1, 2, (51, 75)).astype(np.int8)}


def with_square(box: list[float], height: int = 120, width: int = 160) -> dict:
    """A black image with a white rectangle exactly at `box`, given in fractions."""
    image = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = np.rint(np.array(box) * [width, height, width, height]).astype(int)
    image[y0:y1, x0:x1] = 255
    exact = np.array([[x0 / width, y0 / height, x1 / width, y1 / height]], np.float32)
    return {"image": image, "matrix": np.full((51, 75), -1, np.int8), "boxes": exact}


def bounds(image: np.ndarray) -> np.ndarray:
    """Tight box, in fractions, of what is at least half bright."""
    rows, columns = (np.flatnonzero((image > 127).any(axis)) for axis in (1, 0))
    height, width = image.shape
    return np.array([columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height])


@pytest.mark.parametrize("seed", range(20))
def test_augment_gives_a_sample_of_the_asked_size_and_keeps_the_input(seed):
    sample = noise()
    before = sample["image"].copy()
    out = augment.augment(sample, rng=rng(seed), size=48, config=CONFIG)
    assert set(out) == {"image", "matrix"}
    assert out["image"].shape == (48, 48) and out["image"].dtype == np.uint8
    assert out["matrix"].shape == (51, 75) and out["matrix"].dtype == np.int8
    np.testing.assert_array_equal(sample["image"], before)


def test_augment_depends_on_nothing_but_its_generator():
    first, same, other = (augment.augment(noise(), rng=rng(s), size=48, config=CONFIG)["image"] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_flip_mirrors_and_swaps_sides():
    left, right, heart = (anatomy_index(name) for name in ("left_pleural", "right_pleural", "heart_size"))
    sample = with_square([0.1, 0.2, 0.3, 0.4])
    sample["matrix"][left, 8], sample["matrix"][right, 10], sample["matrix"][heart, 24] = 1, 0, 1
    out = augment.flip(sample, mode="swap_sides")
    np.testing.assert_array_equal(out["image"], sample["image"][:, ::-1])
    np.testing.assert_allclose(out["boxes"], [[0.7, 0.2, 0.9, 0.4]], atol=1e-6)
    assert [out["matrix"][right, 8], out["matrix"][left, 10], out["matrix"][heart, 24]] == [1, 0, 1]
    assert (out["matrix"] != -1).sum() == 3
    np.testing.assert_array_equal(augment.flip(out)["matrix"], sample["matrix"])


def test_released_flip_leaves_the_labels():
    sample = noise()
    out = augment.flip(sample, mode="as_released")
    np.testing.assert_array_equal(out["matrix"], sample["matrix"])
    assert (out["image"] != sample["image"]).any()


def test_flip_happens_half_of_the_time_or_never():
    sample = noise(32, 32)
    plain = dataclasses.replace(CONFIG, scale=(1, 1), ratio=(1, 1), randaugment_ops=0)

    def flipped(config):
        outs = (augment.augment(sample, rng=rng(seed), size=32, config=config)["image"] for seed in range(200))
        return sum(np.array_equal(out, sample["image"][:, ::-1]) for out in outs)

    assert 70 < flipped(plain) < 130
    assert flipped(dataclasses.replace(plain, flip="none")) == 0


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(8, 300), st.integers(8, 300))
def test_crop_window_lies_inside_with_the_asked_area(seed, height, width):
    x0, y0, x1, y1 = augment.crop_window(rng(seed), height=height, width=width, scale=(0.2, 1), ratio=(3 / 4, 4 / 3))
    w, h = x1 - x0, y1 - y0
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    # Sides are rounded to pixels: each may be half a pixel off.
    assert (w - 0.5) / (h + 0.5) <= 4 / 3 and (w + 0.5) / (h - 0.5) >= 3 / 4
    assert (w + 0.5) * (h + 0.5) >= min(0.2 * height * width, 3 / 4 * min(height, width) ** 2)


def test_impossible_crop_falls_back_to_the_centre():
    window = augment.crop_window(rng(), height=100, width=10, scale=(1, 1), ratio=(1, 2))
    np.testing.assert_array_equal(window, [0, 45, 10, 55])


def test_whole_crop_of_an_image_of_that_size_is_the_image():
    sample = noise(32, 32)
    out = augment.random_resized_crop(sample, rng=rng(), size=32, scale=(1, 1), ratio=(1, 1))
    np.testing.assert_array_equal(out["image"], sample["image"])


boxes = st.tuples(st.floats(0.25, 0.45), st.floats(0.25, 0.45), st.floats(0.55, 0.75), st.floats(0.55, 0.75))


@settings(max_examples=50)
@given(boxes, st.integers(0, 10_000))
def test_boxes_follow_the_crop(box, seed):
    sample = with_square(list(box))
    out = augment.random_resized_crop(sample, rng=rng(seed), size=100, scale=(0.5, 1))
    np.testing.assert_allclose(out["boxes"][0], bounds(out["image"]), atol=0.011)  # one pixel of 100


@settings(max_examples=50)
@given(
    boxes,
    st.sampled_from(["shear_x", "shear_y", "translate_x", "translate_y", "rotate"]),
    st.sampled_from([-1, 1]),
)
def test_boxes_follow_affine_operations(box, name, sign):
    sample = with_square(list(box))
    out = augment.apply_operation(sample, name, magnitude=7, sign=sign)
    # Two pixels of 120: the tips of a sheared or turned rectangle are thinner than half a pixel.
    np.testing.assert_allclose(out["boxes"][0], bounds(out["image"]), atol=2 / 120)


def test_box_outside_becomes_empty():
    moved = augment.move_boxes(np.array([[0.9, 0.1, 1.0, 0.2]]), np.array([[1, 0, 0.5], [0, 1, 0]]))
    np.testing.assert_allclose(moved, [[1, 0.1, 1, 0.2]], atol=1e-7)


def test_translation_by_hand():
    """Magnitude 10 moves by 10 % of the side: one column of ten to the right, black comes in."""
    sample = {"image": np.tile(np.arange(100, 110, dtype=np.uint8), (10, 1)), "matrix": None}
    out = augment.apply_operation(sample, "translate_x", magnitude=10)["image"]
    np.testing.assert_array_equal(out[5], [0, *range(100, 109)])


def test_rotation_by_hand():
    """A point right of the centre, turned by 30 degrees, on an image that is not square."""
    image = np.zeros((101, 201), np.uint8)
    cv2.circle(image, (140, 50), 2, 255, -1)  # 40 pixels right of the centre (100, 50)
    out = augment.apply_operation({"image": image, "matrix": None}, "rotate", magnitude=10)["image"]
    rows, columns = np.nonzero(out > 127)
    distance = math.hypot(columns.mean() - 100, rows.mean() - 50)
    angle = math.degrees(math.atan2(rows.mean() - 50, columns.mean() - 100))
    assert abs(distance - 40) < 0.5 and abs(abs(angle) - 30) < 1


def test_tones_by_hand():
    def apply(pixels, name, magnitude=7.0, sign=1):
        sample = {"image": np.array(pixels, np.uint8), "matrix": None}
        return augment.apply_operation(sample, name, magnitude=magnitude, sign=sign)["image"].tolist()

    assert apply([[0, 100, 200]], "brightness") == [[0, 163, 255]]
    assert apply([[0, 100, 200]], "brightness", sign=-1) == [[0, 37, 74]]
    assert apply([[50, 90, 150]], "auto_contrast") == [[0, 102, 255]]
    assert apply([[50, 50]], "auto_contrast") == [[50, 50]]
    assert apply([[9, 8]], "identity") == [[9, 8]]
    assert apply([[10, 10, 20, 20]], "equalize") == [[0, 0, 255, 255]]
    assert apply(np.full((5, 5), 80), "sharpness") == np.full((5, 5), 80).tolist()


def test_sharpness_strengthens_or_weakens_an_edge():
    edge = np.repeat(np.array([[100] * 4 + [150] * 4], np.uint8), 8, 0)
    spread = {
        sign: np.ptp(
            augment.apply_operation({"image": edge, "matrix": None}, "sharpness", magnitude=7, sign=sign)["image"][
                4, 3:5
            ].astype(int)
        )
        for sign in (-1, 1)
    }
    assert spread[-1] < 50 < spread[1]


@pytest.mark.parametrize("name", augment.OPERATIONS)
def test_every_operation_keeps_size_and_type(name):
    sample = noise()
    out = augment.apply_operation(sample, name, magnitude=10, sign=-1)["image"]
    assert out.shape == (60, 80) and out.dtype == np.uint8
    if name in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "sharpness"):
        assert (out != sample["image"]).any()
        np.testing.assert_array_equal(augment.apply_operation(sample, name, magnitude=0)["image"], sample["image"])


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": (0, 1)},
        {"scale": (0.5, 0.2)},
        {"ratio": (2, 1)},
        {"flip": "mirror"},
        {"randaugment_magnitude": 11},
        {"randaugment_p": 1.5},
        {"randaugment_ops": -1},
    ],
)
def test_config_is_checked(changes):
    with pytest.raises(InputError, match=f"augment.{next(iter(changes))}="):
        augment.AugmentConfig(**changes)
