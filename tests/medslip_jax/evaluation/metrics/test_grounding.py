import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from places import GOLDEN

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.grounding import (
    PROTOCOLS,
    binary_maps,
    grounding_reports,
    hits_and_curves,
    pointing_hits,
)
from medslip_jax.evaluation.metrics.regions import upsample_strided

pytestmark = pytest.mark.portable

EXPECTED = np.load(GOLDEN / "metrics.npz")


@pytest.mark.parametrize("threshold", [0.005, 0.3, 0.7])
def test_golden_hits_iou_and_dice_of_the_released_protocol(threshold):
    targets = EXPECTED["seg_map"] > 0
    np.testing.assert_array_equal(targets.any(axis=(1, 2)), EXPECTED["label"][:, 0] == 1)
    report = grounding_report(EXPECTED["pred_map"], targets=targets, protocol="released", threshold=threshold)
    assert report["n_images"] == EXPECTED[f"grounding_{threshold}_positives"]
    assert sum(report["per_image"]["pointing_pixel"]) == EXPECTED[f"grounding_{threshold}_hits"]
    for name in ("iou", "dice"):
        golden = EXPECTED[f"grounding_{threshold}_{name}"]
        np.testing.assert_allclose(report["per_image"][name], golden, rtol=0, atol=1e-6)
        assert report[name] == pytest.approx(golden.mean(), abs=1e-6)


def grounding_report(maps, *, targets, protocol="per-image", threshold=None, upsampling="cells"):
    return grounding_reports(maps, targets=targets, protocols=[(protocol, threshold)], upsampling=upsampling)[0]


def _targets(*rows):
    return np.array(rows, bool)


def test_pointing_counts_ties():
    maps = np.array([[[1, 5], [5, 0]], [[1, 5], [4, 0]], [[1, 5], [4, 0]]], float)
    targets = _targets([[0, 0], [1, 0]], [[0, 0], [1, 0]], [[0, 1], [1, 1]])
    np.testing.assert_array_equal(pointing_hits(maps, targets=targets), [True, False, True])


def test_nothing_points_into_an_empty_target():
    assert pointing_hits(np.ones((1, 2, 2)), targets=np.zeros((1, 2, 2), bool)).tolist() == [False]


def test_overlap_by_hand_and_of_nothing_with_nothing():
    maps = np.array([[[8.0, 4.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    targets = _targets([[1, 0], [1, 0]], [[0, 0], [0, 0]])
    plans = [("image", np.array([0, 0.25, 0.5]))]
    (curves,) = hits_and_curves(maps, targets=targets, plans=plans, upsampling="cells")["curves"]
    # Of 8 4 2 0 over 8, above 0: 3 cells, 2 true; above .25: 2 cells, 1 true; above .5: 1 cell, 1 true.
    np.testing.assert_allclose(curves["iou"], [[2 / 3, 1 / 3, 1 / 2], [0, 0, 0]])
    np.testing.assert_allclose(curves["dice"], [[4 / 5, 2 / 4, 2 / 3], [0, 0, 0]])


def test_one_image_by_hand():
    # Divided by its maximum 8: 1, .5 / .25, 0; strictly above .5 is one cell. The target is the left column.
    maps = np.array([[[8.0, 4.0], [2.0, 0.0]]])
    report = grounding_report(maps, targets=_targets([[1, 0], [1, 0]]))
    assert report == {
        "protocol": "per-image",
        "threshold": 0.5,
        "threshold_source": "fixed",
        "n_images": 1,
        "n_without_target": 0,
        "pointing_pixel": 1.0,
        "pointing_cell": 1.0,
        "chance_pixel": 0.5,
        "chance_cell": 0.5,
        "argmax_cells": 1.0,
        "iou": 1 / 2,
        "dice": 2 / 3,
        "per_image": {
            "index": [0],
            "pointing_pixel": [True],
            "pointing_cell": [True],
            "iou": [1 / 2],
            "dice": [2 / 3],
        },
    }


def test_released_depends_on_the_batch_and_per_image_does_not():
    maps = np.array([[[8.0, 4.0], [2.0, 0.0]], [[800.0, 0.0], [0.0, 0.0]]])
    targets = _targets([[1, 1], [0, 0]], [[1, 0], [0, 0]])
    alone = grounding_report(maps[:1], targets=targets[:1], protocol="released")
    together = grounding_report(maps, targets=targets, protocol="released")
    assert alone["per_image"]["iou"] == [2 / 3]
    assert together["per_image"]["iou"] == [0.0, 1.0]  # 8 / 800 = .01 is not above .01
    assert grounding_report(maps, targets=targets)["per_image"]["iou"] == [1 / 2, 1.0]


def test_raw_protocol_does_not_divide():
    maps = np.array([[[0.5, 0.009], [0.008, 0.007]]])
    report = grounding_report(maps, targets=_targets([[1, 1], [0, 0]]), protocol="fixed-0.008-raw")
    assert (report["threshold"], report["iou"], report["dice"]) == (0.008, 1.0, 1.0)


def test_released_at_threshold_zero_takes_every_positive_cell():
    report = grounding_report(
        np.array([[[1.0, 1e-6], [0.0, 0.0]]]),
        targets=_targets([[1, 1], [0, 0]]),
        protocol="released",
        threshold=0,
    )
    assert report["iou"] == 1.0


def test_best_dice_on_validation_is_carried_to_the_test():
    # Divided by 10: 1, .6 / .3, 0. The target is the top row: right for thresholds from .3 to below .6.
    maps, targets = np.array([[[10.0, 6.0], [3.0, 0.0]]]), _targets([[1, 1], [0, 0]])
    oracle = grounding_report(maps, targets=targets, protocol="best-dice-test-oracle")
    assert oracle["threshold_source"] == "test-oracle"
    assert 0.3 <= oracle["threshold"] < 0.6 and oracle["dice"] == 1.0
    carried = grounding_report(maps, targets=targets, protocol="best-dice-validation", threshold=oracle["threshold"])
    assert (carried["dice"], carried["threshold_source"]) == (1.0, "validation")


def test_images_without_a_target_are_left_out_and_counted():
    maps = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    report = grounding_report(maps, targets=_targets([[0, 0]], [[0, 1]]))
    assert (report["n_images"], report["n_without_target"], report["per_image"]["index"]) == (1, 1, [1])
    assert report["pointing_pixel"] == 1.0
    none = grounding_report(maps, targets=np.zeros((2, 1, 2), bool), protocol="best-dice-test-oracle")
    assert (none["n_images"], none["iou"], none["pointing_cell"], none["threshold"]) == (0, None, None, None)
    json.dumps([report, none], allow_nan=False)


def test_a_finding_smaller_than_a_cell_is_hit_by_its_cell_not_by_its_pixel():
    maps = np.zeros((1, 2, 2))
    maps[0, 0, 1] = 1
    target = np.zeros((1, 16, 16), bool)
    target[0, 6, 9] = True
    report = grounding_report(maps, targets=target)
    assert (report["pointing_cell"], report["pointing_pixel"]) == (1.0, 0.0)
    assert (report["chance_cell"], report["chance_pixel"]) == (0.25, 1 / 256)


def test_a_map_of_zeros_predicts_nothing_and_shows_its_ties():
    report = grounding_report(np.zeros((1, 2, 2)), targets=_targets([[1, 0], [0, 0]]))
    assert (report["iou"], report["dice"], report["argmax_cells"]) == (0.0, 0.0, 4.0)


@settings(max_examples=50)
@given(
    maps=arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32)),
    targets=arrays(bool, (3, 8, 10)),
)
def test_iou_is_at_most_dice_and_a_scale_changes_nothing(maps, targets):
    report = grounding_report(maps, targets=targets)
    scaled = grounding_report(maps * 4, targets=targets)
    assert report == scaled
    iou, dice = np.array(report["per_image"]["iou"]), np.array(report["per_image"]["dice"])
    assert (iou >= 0).all() and (iou <= dice).all() and (dice <= 1).all()
    np.testing.assert_allclose(dice, 2 * iou / (1 + iou), atol=1e-12)
    oracle = grounding_report(maps, targets=targets, protocol="best-dice-test-oracle")
    assert oracle["dice"] is None or oracle["dice"] >= report["dice"]


def test_curves_equal_a_direct_count():
    rng = np.random.default_rng(0)
    maps, targets = rng.random((300, 6, 6), np.float32), rng.random((300, 6, 6)) > 0.7
    thresholds = np.array([0.0, 0.25, 0.5, 0.9])
    found = hits_and_curves(maps, targets=targets, plans=[("none", thresholds)], upsampling="cells")
    (curves,) = found["curves"]
    said = maps[:, None] > thresholds[:, None, None].astype(np.float32)
    both = (said & targets[:, None]).sum(axis=(2, 3))
    either = (said | targets[:, None]).sum(axis=(2, 3))
    np.testing.assert_allclose(curves["iou"], both / np.maximum(either, 1))
    np.testing.assert_allclose(curves["dice"], 2 * both / np.maximum(both + either, 1))


def test_several_protocols_at_once_are_those_one_by_one():
    rng = np.random.default_rng(1)
    maps, targets = rng.random((300, 5, 5), np.float32) ** 3, rng.random((300, 20, 20)) > 0.8
    asked = [("per-image", None), ("released", 0.0), ("fixed-0.008-raw", None), ("best-dice-test-oracle", None)]
    for upsampling in ("cells", "strided"):
        many = grounding_reports(maps, targets=targets, protocols=asked, upsampling=upsampling)
        for report, (protocol, threshold) in zip(many, asked, strict=True):
            options = {"protocol": protocol, "threshold": threshold, "upsampling": upsampling}
            assert grounding_report(maps, targets=targets, **options) == report


def test_strided_upsampling_judges_the_strided_map_and_keeps_the_cells():
    rng = np.random.default_rng(2)
    maps, targets = rng.random((9, 5, 5), np.float32), rng.random((9, 20, 20)) > 0.8
    report = grounding_report(maps, targets=targets, upsampling="strided")
    large = grounding_report(upsample_strided(maps, size=(20, 20)), targets=targets)
    for key in ("iou", "dice", "pointing_pixel"):
        assert report["per_image"][key] == large["per_image"][key]
    assert report["pointing_cell"] == grounding_report(maps, targets=targets)["pointing_cell"]
    with pytest.raises(InputError, match="unknown upsampling 'bicubic'; use one of cells, strided"):
        grounding_report(maps, targets=targets, upsampling="bicubic")


def test_truth_of_a_single_pixel():
    maps = np.zeros((2, 2, 2), np.float32)
    maps[:, 0, 0] = 1
    target = np.zeros((2, 2, 2), bool)
    target[0, 0, 0] = target[1, 1, 1] = True
    report = grounding_report(maps, targets=target)
    assert report["per_image"]["pointing_pixel"] == [True, False] and report["per_image"]["iou"] == [1.0, 0.0]
    assert report["chance_pixel"] == report["chance_cell"] == 0.25


def test_ties_at_the_maximum_of_the_upsampled_map_count_once_each_image():
    # A constant map ties everywhere: it hits any target, and `argmax_cells` says so.
    report = grounding_report(np.full((1, 2, 2), 0.25), targets=np.eye(4, dtype=bool)[None])
    assert (report["pointing_pixel"], report["pointing_cell"], report["argmax_cells"]) == (1.0, 1.0, 4.0)
    assert report["iou"] == 0.25  # everything is above half of the maximum: 4 of 16 pixels are true


def test_binary_maps_are_what_per_image_judges():
    maps = np.array([[[8.0, 4.0], [2.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]], np.float32)
    said = binary_maps(maps, size=(2, 2))
    assert said.tolist() == [[[True, False], [False, True]], [[False, False], [False, False]]]


MAPS, TARGETS = np.ones((2, 2, 2)), np.ones((2, 4, 4), bool)


@pytest.mark.parametrize(
    "maps, targets, options, message",
    [
        (MAPS, TARGETS[:1], {}, "disagree"),
        (MAPS, TARGETS[:, :1], {}, "disagree"),
        (MAPS[0], TARGETS, {}, "disagree"),
        (MAPS, TARGETS * 255, {}, "targets are int"),
        (MAPS * [[[1]], [[np.nan]]], TARGETS, {}, "map of image 1 holds NaN"),
        (-MAPS, TARGETS, {}, "map of image 0 .* negative"),
        (MAPS, TARGETS, {"protocol": "best"}, "unknown grounding protocol 'best'"),
        (MAPS, TARGETS, {"protocol": "best-dice-validation"}, "needs threshold="),
        (MAPS, TARGETS, {"protocol": "fixed-0.008-raw", "threshold": 0.1}, "fixes its own threshold"),
        (MAPS, TARGETS, {"protocol": "best-dice-test-oracle", "threshold": 0.1}, "fixes its own threshold"),
    ],
)
def test_bad_input_is_refused(maps, targets, options, message):
    with pytest.raises(InputError, match=message):
        grounding_report(maps, targets=targets, **options)


def test_the_named_protocols_of_the_specification_exist():
    named = {"per-image", "released", "fixed-0.008-raw", "best-dice-test-oracle", "best-dice-validation"}
    assert set(PROTOCOLS) == named
    assert PROTOCOLS["best-dice-test-oracle"].source == "test-oracle"
