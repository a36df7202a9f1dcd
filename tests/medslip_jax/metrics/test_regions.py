import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.metrics.regions import box_masks, cell_targets, pad_boxes, upsample


def test_ragged_boxes_are_padded_with_nan():
    padded = pad_boxes([[[0, 0, 1, 1]], [], [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]])
    assert padded.shape == (3, 2, 4)
    np.testing.assert_array_equal(np.isnan(padded[..., 0]), [[False, True], [True, True], [False, False]])


def test_box_masks_by_hand():
    boxes = pad_boxes([[[0.3, 0, 0.7, 0.5]], [[0, 0, 0.25, 0.5], [0.75, 0.5, 1, 1]], []])
    np.testing.assert_array_equal(
        box_masks(boxes, size=(2, 4)).astype(int),
        [[[0, 1, 1, 0], [0, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]]],
    )


def test_edges_through_pixel_centres_are_half_open():
    # Column centres .125, .375, .625, .875: left edge in, right edge out.
    mask = box_masks(pad_boxes([[[0.375, 0, 0.875, 1]]]), size=(1, 4))
    np.testing.assert_array_equal(mask.astype(int), [[[0, 1, 1, 0]]])


def test_a_box_between_centres_takes_the_pixel_it_lies_in():
    # x in (.40, .49) holds no column centre and lies in column 1; y spans both rows.
    mask = box_masks(pad_boxes([[[0.40, 0, 0.49, 1]]]), size=(2, 4))
    np.testing.assert_array_equal(mask.astype(int), [[[0, 1, 0, 0], [0, 1, 0, 0]]])


@pytest.mark.parametrize(
    "box", [[-0.1, 0, 1, 1], [0, 0, 1.01, 1], [0.5, 0, 0.5, 1], [0, 0.8, 1, 0.2], [0, 0, np.nan, 1]]
)
def test_a_wrong_box_names_its_image(box):
    with pytest.raises(InputError, match="box 0 of image 1 is"):
        box_masks(pad_boxes([[], [box]]), size=(4, 4))


def test_boxes_without_a_batch_are_refused():
    with pytest.raises(InputError, match="give images x boxes x 4"):
        box_masks(np.zeros((3, 4)), size=(4, 4))


def test_any_pixel_makes_its_cell_a_target():
    target = np.zeros((1, 4, 6), bool)
    target[0, 1, 2] = target[0, 3, 5] = True
    np.testing.assert_array_equal(cell_targets(target, size=(2, 3))[0].astype(int), [[0, 1, 0], [0, 0, 1]])


def test_cells_that_do_not_divide_the_pixels():
    # 5 pixels, 2 cells: centres .1 .3 | .5 .7 .9 (the third lies on the edge and belongs to the right cell).
    cells = [cell_targets(np.eye(5, dtype=bool)[None, i : i + 1], size=(1, 2))[0, 0].tolist() for i in range(5)]
    assert cells == [[True, False]] * 2 + [[False, True]] * 3


fractions = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)).map(sorted)
wide = fractions.filter(lambda pair: pair[1] - pair[0] > 1e-6)


@settings(max_examples=50, deadline=None)
@given(x=wide, y=wide, size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_every_box_has_a_mask_of_about_its_area_and_place(x, y, size):
    mask = box_masks(pad_boxes([[[x[0], y[0], x[1], y[1]]]]), size=size)[0]
    for taken, (low, high), length in ((mask.any(0), x, size[1]), (mask.any(1), y, size[0])):
        places = np.flatnonzero(taken)
        assert len(places) >= 1
        assert abs(len(places) / length - (high - low)) <= 1 / length + 1e-9
        assert places[0] / length >= low - 1 / length and (places[-1] + 1) / length <= high + 1 / length
    assert mask.sum() == mask.any(0).sum() * mask.any(1).sum()


def test_upsampling_by_hand():
    # Two cells to four pixels: centres .25 .75 of a unit; pixel centres at 1/8, 3/8, 5/8, 7/8.
    large = upsample(np.array([[[0.0, 4.0]], [[4.0, 0.0]]]), size=(2, 4))
    np.testing.assert_array_equal(large, [[[0, 1, 3, 4]] * 2, [[4, 3, 1, 0]] * 2])


def test_upsampling_keeps_the_place_of_the_maximum_and_takes_large_batches():
    maps = np.zeros((600, 14, 14), np.float32)
    maps[:, 2, 10] = 1
    large = upsample(maps, size=(224, 224))
    assert large.shape == (600, 224, 224) and large.dtype == np.float32
    rows, columns = np.nonzero(large[599] == large[599].max())
    assert set(rows // 16) == {2} and set(columns // 16) == {10}
    assert upsample(maps[:0], size=(28, 28)).shape == (0, 28, 28)
