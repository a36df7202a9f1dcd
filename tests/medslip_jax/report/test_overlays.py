from pathlib import Path

import cv2
import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.report.overlays import OverlayRow, blend, overlay_grid, save_overlay

# A hot cell well off the centre, in the upper right: row 2, column 10 of 14.
ATTENTION = np.zeros((14, 14), np.float32)
ATTENTION[2, 10] = 0.05
BOX = np.array([[10 / 14, 2 / 14, 11 / 14, 3 / 14]])
IMAGE = np.full((140, 280), 100, np.uint8)


def _read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


def _redness(picture):
    return picture[..., 0] - picture[..., 2]


def test_the_written_png_is_hot_where_the_map_is_hot(tmp_path):
    path = save_overlay(IMAGE, ATTENTION, tmp_path / "new" / "one.png")
    picture = _read(path)
    assert picture.shape == (140, 280, 3)
    row, column = np.unravel_index(np.argmax(_redness(picture)), IMAGE.shape)
    assert 20 <= row < 30 and 200 <= column < 220
    np.testing.assert_array_equal(picture[:, :100], 100)
    np.testing.assert_array_equal(picture[100:], 100)


def test_row_0_of_the_image_is_the_top_of_the_png(tmp_path):
    gradient = np.repeat(np.arange(140, dtype=np.uint8)[:, None], 280, axis=1)
    picture = _read(save_overlay(gradient, np.zeros((14, 14)), tmp_path / "gradient.png"))
    np.testing.assert_array_equal(picture, np.repeat(gradient[..., None], 3, axis=2))


def test_blend_by_hand():
    # Hot: red (255, 0, 0) at opacity .7 over 101 is (208.8, 30.3, 30.3). Cold: the image as it is.
    picture = blend(np.full((1, 2), 101, np.uint8), np.array([[3.0, 0.0]]))
    np.testing.assert_array_equal(picture, [[[209, 30, 30], [101, 101, 101]]])


def _panels(picture):
    """The two X-rays of a one-case figure, found as the columns and rows that are mostly the image's grey."""
    grey = (np.abs(picture - 100) <= 1).all(axis=-1)
    rows = np.flatnonzero(grey.mean(axis=1) > 0.3)
    columns = np.flatnonzero(grey[rows].mean(axis=0) > 0.3)
    left, right = np.split(columns, [np.argmax(np.diff(columns)) + 1])
    return [picture[rows[0] : rows[-1] + 1, part[0] : part[-1] + 1] for part in (left, right)]


def _centre(where):
    """Mean (row, column) of the true pixels, as fractions of height and width."""
    return (np.argwhere(where).mean(axis=0) + 0.5) / where.shape


def test_grid_draws_box_and_heat_at_the_same_place_in_the_upper_right(tmp_path):
    row = OverlayRow(IMAGE, ATTENTION, "nodule", boxes=BOX, probability=0.9, truth="present")
    plain, overlaid = _panels(_read(overlay_grid([row], tmp_path / "grid.png")))
    for panel in (plain, overlaid):
        cyan = (panel[..., 2] > 180) & (panel[..., 0] < 90)
        np.testing.assert_allclose(_centre(cyan), [2.5 / 14, 10.5 / 14], atol=0.015)
    np.testing.assert_allclose(_centre(_redness(overlaid) > 120), [2.5 / 14, 10.5 / 14], atol=0.015)
    assert _redness(plain).max() < 20


def test_grid_takes_any_number_of_cases_and_leaves_no_temporary_file(tmp_path):
    rows = [OverlayRow(IMAGE, ATTENTION, f"case {i}") for i in range(3)]
    path = overlay_grid(rows, tmp_path / "grid.png", title="three")
    one_line = overlay_grid(rows[:2], tmp_path / "line.png")
    assert _read(path).shape[0] > _read(one_line).shape[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grid.png", "line.png"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": IMAGE / 255}, r"overlay row 0 \(nodule\): the image is float64"),
        ({"image": np.dstack([IMAGE] * 3)}, "grey uint8 H x W"),
        ({"attention": ATTENTION * np.nan}, "the attention map must be"),
        ({"attention": ATTENTION.ravel()}, "the attention map must be"),
        ({"attention": -ATTENTION}, "the attention map must be"),
        ({"boxes": np.zeros(4)}, r"boxes have shape \(4,\)"),
    ],
)
def test_a_row_that_cannot_be_drawn_is_named(tmp_path, change, message):
    row = OverlayRow(**({"image": IMAGE, "attention": ATTENTION, "name": "nodule"} | change))
    with pytest.raises(InputError, match=message):
        overlay_grid([row], tmp_path / "grid.png")
    assert not list(tmp_path.iterdir())


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match="no case to draw"):
        overlay_grid([], tmp_path / "grid.png")


def test_a_write_that_fails_leaves_the_old_picture(tmp_path, monkeypatch):
    path = save_overlay(IMAGE, ATTENTION, tmp_path / "one.png")
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(InputError, match=r"cannot be written .*no space left"):
        save_overlay(IMAGE, ATTENTION.T, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
