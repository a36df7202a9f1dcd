import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_pipelines.images.rle import NO_MASK, decode_rle, encode_rle
from medslip_jax.errors import InputError

# Columns first:  0  4  8        from 2 on two pixels (2, 3), then 1 off, 2 on (5, 6), then 3 off, 2 on (10, 11)
#                 1  5  9
#                 2  6 10
#                 3  7 11
WORKED = "2 2 1 2 3 2"
MASK = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 0, 1]], np.uint8)


def by_walking(text: str, width: int, height: int) -> np.ndarray:
    """The published decoder in words: walk down each column from the left; skip `offset`, paint `length`, repeat."""
    painted, position = set(), 0
    numbers = [int(number) for number in text.split()]
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        position += offset
        painted |= set(range(position, position + length))
        position += length
    return np.array([[255 * (x * height + y in painted) for x in range(width)] for y in range(height)], np.uint8)


def test_worked_by_hand():
    np.testing.assert_array_equal(decode_rle(WORKED, shape=(4, 3), name="m"), MASK * 255)
    assert encode_rle(MASK) == WORKED


def test_first_pixel_is_number_zero_and_a_run_crosses_columns():
    np.testing.assert_array_equal(decode_rle("0 3", shape=(2, 2), name="m"), [[255, 255], [255, 0]])
    assert encode_rle(np.ones((2, 2), bool)) == "0 4"


def test_the_challenge_s_own_example():
    # Its data page. 387620 = 378 * 1024 + 548; then 548 + 23 + 996 = 1024 + 543 and 543 + 33 + 986 = 1024 + 538.
    mask = decode_rle("387620 23 996 33 986 43", shape=(1024, 1024), name="m")
    assert mask.dtype == np.uint8 and mask.sum() == 255 * (23 + 33 + 43)
    ends = [np.flatnonzero(mask[:, x])[[0, -1]].tolist() for x in (378, 379, 380)]
    assert ends == [[548, 570], [543, 575], [538, 580]]


@pytest.mark.parametrize("text", ["-1", " -1", "", "  "])
def test_no_mask(text):
    assert not decode_rle(text, shape=(3, 2), name="m").any()
    assert encode_rle(np.zeros((3, 2), np.uint8)) == NO_MASK


@settings(max_examples=100)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
@example(np.array([[True]]))
def test_round_trip(mask):
    text = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(text, shape=mask.shape, name="m"), mask * np.uint8(255))
    if text != NO_MASK:
        np.testing.assert_array_equal(by_walking(text, mask.shape[1], mask.shape[0]), mask * np.uint8(255))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=5))
def test_any_runs_mean_what_the_published_decoder_says(runs):
    text = " ".join(f"{offset} {length}" for offset, length in runs)
    np.testing.assert_array_equal(decode_rle(text, shape=(10, 6), name="m"), by_walking(text, 6, 10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 4", "mask of a: runs go beyond the 6 pixels of an image of 2 x 3"),
        ("6 1", "beyond"),
        ("9223372036854775807 9223372036854775807", "beyond"),
        ("99999999999999999999 1", "not whole numbers"),
        ("1 2 3", "pairs"),
        ("1 -2", "none negative"),
        ("-1 -1", "none negative"),
        ("1.5 2", "not whole numbers"),
        ("a b", "not whole numbers"),
    ],
)
def test_bad_runs_are_named(text, message):
    with pytest.raises(InputError, match=message):
        decode_rle(text, shape=(3, 2), name="mask of a")
