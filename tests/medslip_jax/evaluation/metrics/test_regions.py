import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.regions import (
    box_masks,
    cell_targets,
    mask_targets,
    upsample,
    upsample_strided,
)


def test_box_masks_by_hand():
    boxes = [[[0.3, 0, 0.7, 0.5]], [[0, 0, 0.25, 0.5], [0.75, 0.5, 1, 1]], []]
    np.testing.assert_array_equal(
        box_masks(boxes, size=(2, 4)).astype(int),
        [[[0, 1, 1, 0], [0, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]]],
    )


def test_edges_through_pixel_centres_are_half_open():
    # Column centres .125, .375, .625, .875: left edge in, right edge out.
    mask = box_masks([[[0.375, 0, 0.875, 1]]], size=(1, 4))
    np.testing.assert_array_equal(mask.astype(int), [[[0, 1, 1, 0]]])


def test_a_box_between_centres_takes_the_pixel_it_lies_in():
    # x in (.40, .49) holds no column centre and lies in column 1; y spans both rows.
    mask = box_masks([[[0.40, 0, 0.49, 1]]], size=(2, 4))
    np.testing.assert_array_equal(mask.astype(int), [[[0, 1, 0, 0], [0, 1, 0, 0]]])


@pytest.mark.parametrize(
    "box", [[-0.1, 0, 1, 1], [0, 0, 1.01, 1], [0.5, 0, 0.5, 1], [0, 0.8, 1, 0.2], [0, 0, np.nan, 1]]
)
def test_a_wrong_box_names_its_image(box):
    with pytest.raises(InputError, match="box 0 of image 1 is"):
        box_masks([[], [box]], size=(4, 4))


def test_masks_of_any_size_on_one_grid():
    half = np.zeros((4, 4), np.uint8)
    half[:2] = 255  # the upper half
    half[0, 2:] = 0  # half of the upper right pixel is left, which is enough
    large = np.full((1, 1), 255, np.uint8)
    found = mask_targets([half, large, np.zeros((3, 5), np.uint8)], size=(2, 2))
    assert found.tolist() == [[[True, True], [False, False]], [[True, True]] * 2, [[False, False]] * 2]
    assert mask_targets([], size=(2, 3)).shape == (0, 2, 3)


def test_a_mask_smaller_than_a_pixel_does_not_vanish():
    speck = np.zeros((16, 16), np.uint8)
    speck[13, 2] = 255
    assert mask_targets([speck], size=(4, 4))[0].nonzero() == (np.array([3]), np.array([0]))


def test_any_pixel_makes_its_cell_a_target():
    target = np.zeros((1, 4, 6), bool)
    target[0, 1, 2] = target[0, 3, 5] = True
    np.testing.assert_array_equal(cell_targets(target, size=(2, 3))[0].astype(int), [[0, 1, 0], [0, 0, 1]])


def test_an_empty_mask_has_no_cell():
    assert not cell_targets(np.zeros((2, 4, 6), bool), size=(2, 3)).any()
    assert cell_targets(np.zeros((0, 4, 6), bool), size=(2, 3)).shape == (0, 2, 3)
    assert box_masks([[], []], size=(2, 3)).tolist() == [[[False] * 3] * 2] * 2


def test_cells_that_do_not_divide_the_pixels():
    # 5 pixels, 2 cells: centres .1 .3 | .5 .7 .9 (the third lies on the edge and belongs to the right cell).
    cells = [cell_targets(np.eye(5, dtype=bool)[None, i : i + 1], size=(1, 2))[0, 0].tolist() for i in range(5)]
    assert cells == [[True, False]] * 2 + [[False, True]] * 3


fractions = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)).map(sorted)
wide = fractions.filter(lambda pair: pair[1] - pair[0] > 1e-6)


@settings(max_examples=50)
@given(x=wide, y=wide, size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_every_box_has_a_mask_of_about_its_area_and_place(x, y, size):
    mask = box_masks([[[x[0], y[0], x[1], y[1]]]], size=size)[0]
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


def test_strided_upsampling_puts_a_cell_where_the_network_looks():
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 1, 2] = 1.0
    large = upsample_strided(maps, size=(16, 16))
    # stride 4: cell (1, 2) is centred on pixel (4, 8), and half-way to its neighbours 2 pixels further
    assert np.unravel_index(large[0].argmax(), (16, 16)) == (4, 8)
    np.testing.assert_allclose(large[0, 4, 6:11], [0.5, 0.75, 1.0, 0.75, 0.5])
    # drawn by cell middles, the same cell peaks on pixels 5 and 6, 9 and 10
    middles = upsample(maps, size=(16, 16))[0]
    assert {tuple(index) for index in np.argwhere(middles == middles.max())} == {(5, 9), (5, 10), (6, 9), (6, 10)}
    assert upsample_strided(np.zeros((0, 4, 4)), size=(16, 16)).shape == (0, 16, 16)


def test_a_patch_of_the_trunk_looks_at_multiples_of_sixteen():
    import jax

    from medslip_jax.models.resnet import ResNetTrunk
    from medslip_jax.testing import tiny_config

    trunk = ResNetTrunk(tiny_config())
    image = jax.random.normal(jax.random.key(0), (1, 512, 512, 3))
    variables = trunk.init(jax.random.key(1), image, train=False)
    saliency = jax.grad(lambda x: trunk.apply(variables, x, train=False)["layer3"][0, 16, 16].sum())(image)
    weight = np.abs(np.asarray(saliency)).sum((0, 3))
    centre = [np.average(np.arange(512), weights=weight.sum(axis)) for axis in (1, 0)]
    # 16 * 16 = 256 is where cell 16 looks; its middle would be 264
    np.testing.assert_allclose(centre, 256, atol=3)
