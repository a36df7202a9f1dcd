"""Boxes of components and their matching, worked by hand on small grids; properties on random boxes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.detection import (
    IOU_THRESHOLDS,
    box_iou,
    component_boxes,
    detection_report,
    localisation_accuracy,
    matched_ious,
)

NONE = np.zeros((0, 4))


def counts(predicted, true, *, above):
    (row,) = detection_report([np.array(predicted)], true=[np.array(true)], thresholds=(above,))
    return row["true_positives"], row["precision"], row["recall"], row["f1"]


def test_components_by_hand():
    masks = np.zeros((3, 4, 8), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True  # touch at a corner: one component
    masks[0, 2:4, 5:8] = True  # the larger one comes first
    masks[2, 3, 7] = True
    boxes = component_boxes(masks)
    np.testing.assert_array_equal(boxes[0], [[5 / 8, 0.5, 1, 1], [0, 0, 0.25, 0.5]])
    assert boxes[1].shape == (0, 4)
    np.testing.assert_array_equal(boxes[2], [[7 / 8, 0.75, 1, 1]])


def test_iou_by_hand():
    # [0, 2] x [0, 1] and [1, 3] x [0, 1] share 1 of 3; the third only touches the first.
    found = box_iou([[0, 0, 2, 1]], [[1, 0, 3, 1], [0, 0, 2, 1], [2, 0, 3, 1]])
    np.testing.assert_allclose(found, [[1 / 3, 1, 0]])
    assert box_iou(NONE, [[0, 0, 1, 1]]).shape == (0, 1)


def test_one_blob_over_two_boxes_can_be_matched_with_one_of_them():
    # Two touching boxes, one prediction over both: IoU 1/2 with each, and one of the two stays unfound.
    blob, touching = [[0, 0, 4, 1]], [[0, 0, 2, 1], [2, 0, 4, 1]]
    assert counts(blob, touching, above=0.4) == (1, 1.0, 0.5, pytest.approx(2 / 3))
    assert counts(blob, touching, above=0.5) == (0, 0.0, 0.0, 0.0)  # not above
    # The other way round, too.
    assert counts(touching, blob, above=0.4) == (1, 0.5, 1.0, pytest.approx(2 / 3))


def test_the_best_pair_is_taken_first():
    # p0 and t0 share 9 of 10; p1 shares 5 of 10 with t0, which is taken, and nothing with t1.
    predicted, true = [[0, 0, 9, 1], [0, 0, 5, 1]], [[0, 0, 10, 1], [8, 0, 10, 1]]
    np.testing.assert_allclose(matched_ious(predicted, true), [0.9])
    assert counts(predicted, true, above=0.3) == (1, 0.5, 0.5, 0.5)


def test_of_two_equally_good_boxes_one_is_matched():
    twice, true = [[0, 0, 1, 1], [0, 0, 1, 1]], [[0, 0, 2, 1]]
    assert counts(twice, true, above=0.4) == (1, 0.5, 1.0, pytest.approx(2 / 3))
    assert counts(true, twice, above=0.4) == (1, 1.0, 0.5, pytest.approx(2 / 3))


def test_a_box_without_area_overlaps_nothing():
    assert box_iou([[1, 0, 1, 1]], [[0, 0, 2, 1], [1, 0, 1, 1]]).tolist() == [[0, 0]]
    assert matched_ious([[1, 0, 1, 1]], [[1, 0, 1, 1]]).tolist() == []


def test_nothing_predicted_and_nothing_true():
    box = [[0, 0, 1, 1]]
    assert counts(NONE, box, above=0.1) == (0, None, 0.0, 0.0)
    assert counts(box, NONE, above=0.1) == (0, 0.0, None, 0.0)
    assert counts(NONE, NONE, above=0.1) == (0, None, None, None)
    rows = detection_report([], true=[])
    assert [row["iou_above"] for row in rows] == list(IOU_THRESHOLDS)
    json.dumps(rows, allow_nan=False)


def test_images_are_not_mixed():
    box = np.array([[0.0, 0, 1, 1]])
    (row,) = detection_report([box, NONE], true=[NONE, box], thresholds=(0.1,))
    assert (row["n_predicted"], row["n_true"], row["true_positives"], row["f1"]) == (1, 1, 0, 0.0)


def test_localisation_accuracy_by_hand():
    assert localisation_accuracy([0.1, 0.35, 0.6], thresholds=(0, 0.1, 0.5, 0.7)) == [1, 2 / 3, 1 / 3, 0]
    assert localisation_accuracy([]) == [None] * 7


boxes = st.lists(
    st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 5)] * 2).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])),
    max_size=5,
).map(lambda found: np.array(found, float).reshape(-1, 4))


@settings(max_examples=100)
@given(images=st.lists(st.tuples(boxes, boxes), max_size=4), order=st.randoms(use_true_random=False))
def test_rates_fall_with_the_threshold_and_know_no_order_of_images(images, order):
    predicted, true = [p for p, _ in images], [t for _, t in images]
    rows = detection_report(predicted, true=true)
    for key in ("precision", "recall", "f1"):
        values = [row[key] for row in rows if row[key] is not None]
        assert values == sorted(values, reverse=True) and all(0 <= value <= 1 for value in values)
    assert rows[0]["true_positives"] <= min(rows[0]["n_predicted"], rows[0]["n_true"])
    places = list(range(len(images)))
    order.shuffle(places)
    assert detection_report([predicted[i] for i in places], true=[true[i] for i in places]) == rows


@settings(max_examples=100)
@given(predicted=boxes, true=boxes)
def test_a_matching_is_one_to_one_and_greedy(predicted, true):
    found = matched_ious(predicted, true)
    assert len(found) <= min(len(predicted), len(true)) and (np.diff(found) <= 0).all()
    if len(found):
        assert found[0] == box_iou(predicted, true).max()
    assert matched_ious(true, true).tolist() == [1.0] * len(true)


@settings(max_examples=100)
@given(iou=st.lists(st.floats(0, 1), min_size=1, max_size=20), order=st.randoms(use_true_random=False))
def test_localisation_accuracy_falls_and_knows_no_order(iou, order):
    found = localisation_accuracy(iou)
    assert found == sorted(found, reverse=True) and all(0 <= value <= 1 for value in found)
    order.shuffle(iou)
    assert localisation_accuracy(iou) == found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection_report([NONE], true=[]), "of 1 images, true ones of 0"),
        (lambda: detection_report([NONE], true=[np.zeros(4)]), "true boxes of image 0 are"),
        (lambda: detection_report([NONE, [[0, 0, np.nan, 1]]], true=[NONE, NONE]), "predicted boxes of image 1 are"),
        (lambda: detection_report([[[1, 0, 0, 1]]], true=[NONE]), "x0 <= x1"),
        (lambda: localisation_accuracy([0.5, np.nan]), r"in \[0, 1\]"),
        (lambda: component_boxes(np.ones((1, 2, 2))), "masks are float64"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
