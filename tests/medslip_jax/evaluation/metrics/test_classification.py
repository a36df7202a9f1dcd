import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification import best_thresholds, classification_report, max_f1

pytestmark = pytest.mark.portable

EXPECTED = np.load(GOLDEN / "metrics.npz")


def test_golden_auroc_max_f1_and_accuracy():
    names = [f"class {i}" for i in range(5)]
    report = classification_report(EXPECTED["score"], labels=EXPECTED["y"], names=names)
    oracle = [report["classes"][name]["by_threshold_source"]["test-oracle"] for name in names]
    auroc = [report["classes"][name]["auroc"] for name in names]
    np.testing.assert_allclose(auroc, EXPECTED["auc"], rtol=0, atol=1e-6)
    np.testing.assert_allclose([o["max_f1"] for o in oracle], EXPECTED["max_f1"], rtol=0, atol=1e-6)
    np.testing.assert_allclose([o["accuracy"] for o in oracle], EXPECTED["acc"], rtol=0, atol=1e-6)
    assert report["macro"]["auroc"] == pytest.approx(EXPECTED["auc"].mean(), abs=1e-6)


# Scores .1 .4 .35 .8, truth 0 0 1 1: the pairs (.35, .1) (.8, .1) (.8, .4) are in order, (.35, .4) is not.
SCORES = np.array([[0.1], [0.4], [0.35], [0.8]])
LABELS = np.array([[0], [0], [1], [1]])


def test_four_images_by_hand():
    report = classification_report(SCORES, labels=LABELS, names=["effusion"], thresholds={"fixed": 0.5})
    row = report["classes"]["effusion"]
    assert (row["n_positive"], row["n_negative"], row["n_unknown"]) == (2, 2, 0)
    assert row["auroc"] == pytest.approx(3 / 4)
    # Precision at the two positives in rank order: 1/1 and 2/3.
    assert row["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    oracle = row["by_threshold_source"]["test-oracle"]
    # score >= .35: 2 true of 3 said, F1 = 2 * 2 / (3 + 2).  score > .35: .4 and .8, one of them true.
    assert oracle == {
        "max_f1": pytest.approx(0.8),
        "threshold": 0.35,
        "f1": pytest.approx(0.5),
        "accuracy": 0.5,
        "sensitivity": 0.5,
        "specificity": 0.5,
    }
    # score > .5: only .8, F1 = 2 * 1 / (1 + 2).
    fixed = row["by_threshold_source"]["fixed"]
    assert fixed == {
        "threshold": 0.5,
        "f1": pytest.approx(2 / 3),
        "accuracy": 0.75,
        "sensitivity": 0.5,
        "specificity": 1.0,
    }


def test_ties_count_one_half_and_are_one_step():
    # Scores .5 .5 .2, truth 1 0 0: of the two pairs (.5, .2) is in order and (.5, .5) half so.
    score, label = np.array([[0.5], [0.5], [0.2]]), np.array([[1], [0], [0]])
    row = classification_report(score, labels=label, names=["a"])["classes"]["a"]
    assert (row["auroc"], row["average_precision"]) == (3 / 4, 1 / 2)
    # score >= .5: 1 of 2 said, F1 = 2 * 1 / (2 + 1).  score > .5: nobody, though the maximum is reached twice.
    oracle = row["by_threshold_source"]["test-oracle"]
    assert (oracle["threshold"], oracle["max_f1"], oracle["f1"]) == (0.5, pytest.approx(2 / 3), 0)
    assert (oracle["accuracy"], oracle["sensitivity"], oracle["specificity"]) == (pytest.approx(2 / 3), 0, 1)


def test_one_score_for_all_is_chance():
    report = classification_report(np.full((4, 1), 0.3), labels=np.array([[1], [0], [0], [0]]), names=["a"])
    row = report["classes"]["a"]
    assert (row["auroc"], row["average_precision"]) == (1 / 2, 1 / 4)
    assert row["by_threshold_source"]["test-oracle"]["max_f1"] == pytest.approx(2 * 1 / (4 + 1))


def test_of_equally_good_thresholds_the_lowest_is_taken():
    # 1 0 0 1 in falling order: 2 * 1 / (1 + 2) at .9, 2 * 2 / (4 + 2) at .6.
    found = max_f1(np.array([1, 0, 0, 1]), score=np.array([0.9, 0.8, 0.7, 0.6]))
    assert found == {"max_f1": pytest.approx(2 / 3), "threshold": 0.6}


def test_unknown_labels_leave_out_the_image_for_that_class_only():
    scores = np.hstack([SCORES, SCORES])
    labels = np.hstack([LABELS, LABELS])
    labels[1, 1] = -1
    report = classification_report(scores, labels=labels, names=["a", "b"])
    assert report["classes"]["a"]["auroc"] == pytest.approx(3 / 4)
    assert report["classes"]["b"]["auroc"] == 1.0
    assert report["classes"]["b"]["n_unknown"] == 1


def test_one_valued_classes_are_null_listed_and_counted():
    scores = np.hstack([SCORES] * 4)
    labels = np.hstack([LABELS, 0 * LABELS, 0 * LABELS + 1, 0 * LABELS - 1])
    report = classification_report(scores, labels=labels, names=["ok", "never", "always", "unknown"])
    assert report["undefined"] == {
        "never": "only negative labels (4)",
        "always": "only positive labels (4)",
        "unknown": "no image with a known label",
    }
    assert report["macro"]["auroc"] == pytest.approx(3 / 4)
    assert (report["macro"]["n_defined"], report["macro"]["n_undefined"]) == (1, 3)
    assert report["macro"]["by_threshold_source"]["test-oracle"]["n_defined"] == 1
    never = report["classes"]["never"]
    assert never["auroc"] is never["average_precision"] is None
    assert never["by_threshold_source"]["test-oracle"]["accuracy"] is None
    json.dumps(report, allow_nan=False)


def test_no_defined_class_gives_a_null_mean():
    report = classification_report(SCORES, labels=0 * LABELS, names=["a"])
    assert report["macro"]["auroc"] is None
    assert report["macro"]["n_defined"] == 0


def test_thresholds_from_validation():
    names = ["a", "b"]
    scores = np.hstack([SCORES, SCORES])
    found = best_thresholds(scores, labels=np.hstack([LABELS, 0 * LABELS]), names=names)
    np.testing.assert_array_equal(found, [0.35, np.nan])
    report = classification_report(
        scores, labels=np.hstack([LABELS, LABELS]), names=names, thresholds={"validation": found}
    )
    assert report["classes"]["a"]["by_threshold_source"]["validation"]["accuracy"] == 0.5
    without = dict.fromkeys(("threshold", "f1", "accuracy", "sensitivity", "specificity"))
    assert report["classes"]["b"]["by_threshold_source"]["validation"] == without
    assert report["classes"]["b"]["auroc"] == pytest.approx(3 / 4)
    assert report["macro"]["by_threshold_source"]["validation"]["n_defined"] == 1
    assert report["macro"]["n_defined"] == 2
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_names_class_and_image(value):
    scores = np.hstack([SCORES, SCORES])
    scores[2, 1] = value
    for judge in (classification_report, best_thresholds):
        with pytest.raises(InputError, match=r"class 'edema': the score of image 2 is"):
            judge(scores, labels=np.hstack([LABELS, LABELS]), names=["effusion", "edema"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": LABELS[:3]}, "disagree"),
        ({"names": ["a", "b"]}, "disagree"),
        ({"labels": LABELS * 2}, "class 'a': the label of image 2 is 2"),
        ({"thresholds": {"test-oracle": 0.5}}, "unknown threshold source 'test-oracle'"),
        ({"thresholds": {"fixed": np.zeros(3)}}, "fixed thresholds have shape"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        classification_report(SCORES, **({"labels": LABELS, "names": ["a"]} | change))


def test_no_images_and_repeated_names_are_refused():
    with pytest.raises(InputError, match="no images"):
        classification_report(np.zeros((0, 1)), labels=np.zeros((0, 1), int), names=["a"])
    with pytest.raises(InputError, match="'a' occurs more than once"):
        classification_report(np.hstack([SCORES] * 2), labels=np.hstack([LABELS] * 2), names=["a", "a"])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=2, max_size=40))
def test_only_the_order_of_scores_matters(pairs):
    score, truth = np.array(pairs).T[:, :, None]
    plain = classification_report(score / 30, labels=truth, names=["a"])["classes"]["a"]
    mapped = classification_report(np.exp(score / 3) - 7, labels=truth, names=["a"])["classes"]["a"]
    assert plain["auroc"] == mapped["auroc"]
    assert plain["average_precision"] == mapped["average_precision"]
    oracles = [row["by_threshold_source"]["test-oracle"] for row in (plain, mapped)]
    assert all(oracles[0][key] == oracles[1][key] for key in ("max_f1", "f1", "accuracy"))
    if plain["auroc"] is not None:
        reversed_order = classification_report(-score, labels=truth, names=["a"])["classes"]["a"]
        assert reversed_order["auroc"] == pytest.approx(1 - plain["auroc"], abs=1e-12)
