import json

import numpy as np
import pytest
from places import GOLDEN
from segmentation_reference import dice_bce, segmentation_report

from medslip_jax.evaluation.metrics.intervals import mean_intervals
from medslip_jax.evaluation.metrics.segmentation import overlap_report, pooled_dice_interval

pytestmark = pytest.mark.portable

EXPECTED = np.load(GOLDEN / "metrics.npz")


def test_golden_dice_counts_iou_and_loss():
    report = segmentation_report(EXPECTED["prob"], masks=EXPECTED["mask"])
    keys = ("dice_all", "dice_negative", "dice_positive", "n_negative", "n_positive")
    np.testing.assert_allclose([report[key] for key in keys], EXPECTED["dice"], rtol=0, atol=1e-6)
    assert report["iou"] == pytest.approx(float(EXPECTED["miou"]), abs=1e-6)
    assert dice_bce(EXPECTED["logit"], masks=EXPECTED["mask"]) == pytest.approx(float(EXPECTED["dice_bce"]), abs=1e-6)


#        prediction        truth       I  S   Dice      IoU + 1
# 0      1 1 0 0           1 0 0 0     1  3   2/3       2/3
# 1      0 0 0 0           0 1 0 0     0  1   0         1/2
# 2      0 0 0 0           empty       0  0   1         1
# 3      0 0 0 1           empty       0  1   0         1/2
PROBABILITIES = np.array([[0.9, 0.6, 0.5, 0.1], [0, 0.5, 0, 0], [0, 0, 0.2, 0], [0, 0, 0, 0.51]]).reshape(4, 2, 2)
MASKS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).reshape(4, 2, 2)


def test_four_images_by_hand():
    assert segmentation_report(PROBABILITIES, masks=MASKS) == {
        "threshold": 0.5,
        "dice_all": pytest.approx((2 / 3 + 0 + 1 + 0) / 4),
        "dice_positive": pytest.approx(1 / 3),
        "dice_negative": 0.5,
        # One pixel in common; areas 2 + 1, 0 + 1, 0, 1.
        "dice_pooled": pytest.approx(2 / 5),
        "n_positive": 2,
        "n_negative": 2,
        "iou": pytest.approx((2 / 3 + 1 / 2 + 1 + 1 / 2) / 4),
        "per_image": {"dice": pytest.approx([2 / 3, 0, 1, 0]), "iou": pytest.approx([2 / 3, 1 / 2, 1, 1 / 2])},
    }


def test_no_image_has_anything_to_find():
    report = segmentation_report(PROBABILITIES[2:], masks=MASKS[2:])
    # An empty prediction is right, one pixel is wrong: Dice 1 and 0, IoU 1/1 and 1/2.
    assert (report["dice_all"], report["dice_negative"], report["dice_positive"]) == (0.5, 0.5, None)
    assert (report["n_positive"], report["n_negative"], report["iou"]) == (0, 2, 0.75)
    empty = segmentation_report(0 * PROBABILITIES, masks=0 * MASKS)
    assert empty["dice_all"] == empty["dice_negative"] == empty["iou"] == 1
    assert empty["dice_pooled"] is None


def test_areas_by_hand():
    # Both 10 pixels, 5 in common; everything wrong; the truth missed; both empty.
    areas = {"intersection": [5, 0, 0, 0], "said": [10, 4, 0, 0], "true": [10, 4, 4, 0]}
    report = overlap_report(**{key: np.array(value) for key, value in areas.items()}, threshold=0.25)
    assert report["per_image"] == {"dice": [0.5, 0, 0, 1], "iou": [6 / 16, 1 / 9, 1 / 5, 1]}
    assert (report["dice_all"], report["dice_positive"], report["n_positive"]) == (1.5 / 4, pytest.approx(0.5 / 3), 3)
    assert report["threshold"] == 0.25


def test_masks_everywhere_and_nowhere_have_no_pooled_dice_to_speak_of():
    masks = np.zeros((50, 10, 10), int)
    masks[0, 0, 0] = 1
    everywhere = segmentation_report(np.ones((50, 10, 10)), masks=masks)
    assert everywhere["dice_pooled"] == pytest.approx(2 / 5001)
    nowhere = segmentation_report(np.zeros((50, 10, 10)), masks=masks)
    assert (nowhere["dice_pooled"], nowhere["dice_all"]) == (0, 0.98)


def test_interval_of_the_pooled_dice_by_hand():
    # Two patients of one image each: Dice 1 (areas 2 + 2) and 0 (4 + 0); both together 4 / 8.
    areas = {"intersection": np.array([2, 0]), "said": np.array([2, 4]), "true": np.array([2, 0])}
    found = pooled_dice_interval(**areas, patients=["a", "b"], resamples=500)
    assert (found["low"], found["high"], found["n_undefined"]) == (0, 1, 0)
    assert pooled_dice_interval(**areas, patients=["a", "a"])["low"] is None


def test_per_image_values_give_an_interval_over_patients():
    per_image = segmentation_report(PROBABILITIES, masks=MASKS)["per_image"]
    found = mean_intervals(per_image, patients=["a", "a", "b", "c"], resamples=50)
    assert set(found["means"]) == {"dice", "iou"} and 0 <= found["means"]["dice"]["low"] < 5 / 12


def test_a_mean_over_no_image_is_null():
    positives = segmentation_report(PROBABILITIES[:2], masks=MASKS[:2])
    assert positives["dice_negative"] is None and positives["n_negative"] == 0
    assert positives["dice_all"] == positives["dice_positive"]
    json.dumps(positives, allow_nan=False)


def test_loss_by_hand():
    # Logit 0 everywhere: p = 1/2, BCE = ln 2; I = 1/2, S = 2 + 1 over four pixels with one true.
    loss = dice_bce(np.zeros((1, 2, 2)), masks=np.array([[[1, 0], [0, 0]]]))
    assert loss == pytest.approx(np.log(2) + 1 - (2 * 0.5 + 1) / (3 + 1))
    # Perfect and very sure: no overflow, no loss.
    assert dice_bce(np.array([[1e4, -1e4]]), masks=np.array([[1, 0]])) == pytest.approx(0, abs=1e-12)
