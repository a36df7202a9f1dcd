import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.calibration import agreement, calibration_report


def column(*values):
    return np.array(values)[:, None]


def test_four_images_by_hand():
    report = calibration_report(column(0.1, 0.3, 0.6, 0.9), labels=column(0, 1, 1, 1), names=["a"], bins=2)
    assert (report["bins"], report["binning"]) == (2, "equal-width")
    low, high = report["classes"]["a"]["bins"]
    # Mean score .2 with half positive, .75 with all positive: 1/2 * .3 + 1/2 * .25.
    assert low == {"low": 0.0, "high": 0.5, "n": 2, "mean_score": pytest.approx(0.2), "fraction_positive": 0.5}
    assert high == {"low": 0.5, "high": 1.0, "n": 2, "mean_score": pytest.approx(0.75), "fraction_positive": 1.0}
    assert report["classes"]["a"]["ece"] == pytest.approx(0.275)
    assert report["macro"] == {"ece": pytest.approx(0.275)}


def test_edges_belong_to_the_upper_bin_and_one_to_the_last():
    report = calibration_report(column(0.0, 0.1, 0.3, 0.999, 1.0), labels=column(0, 0, 0, 1, 1), names=["a"])
    assert [row["n"] for row in report["classes"]["a"]["bins"]] == [1, 1, 0, 1, 0, 0, 0, 0, 0, 2]


def test_unknown_labels_empty_bins_and_classes_without_labels():
    scores = np.array([[0.2, 0.2, 0.2], [0.2, 0.9, 0.2]])
    labels = np.array([[1, -1, -1], [1, 0, -1]])
    report = calibration_report(scores, labels=labels, names=["one value", "half", "none"], patients=["p", "q"])
    one, half, none = report["classes"].values()
    # Labels of one value are no reason to leave a class out: it can be as badly calibrated as any.
    assert (one["ece"], one["n"]) == (pytest.approx(0.8), 2)
    assert (half["ece"], half["n"], half["low"]) == (pytest.approx(0.9), 1, None)
    assert (none["ece"], none["n"], none["low"], none["high"]) == (None, 0, None, None)
    assert one["bins"][5] == {"low": 0.5, "high": 0.6, "n": 0, "mean_score": None, "fraction_positive": None}
    assert report["macro"]["ece"] == pytest.approx(0.85)
    json.dumps(report, allow_nan=False)


def test_intervals_by_patient():
    rng = np.random.default_rng(0)
    scores = rng.random((400, 2))
    labels = (rng.random((400, 2)) < scores**2).astype(int)
    arguments = {"labels": labels, "names": ["a", "b"], "patients": np.arange(400) // 2, "resamples": 200}
    report = calibration_report(scores, **arguments)
    assert report == calibration_report(scores, **arguments)
    for row in (*report["classes"].values(), report["macro"]):
        assert row["low"] < row["ece"] < row["high"] < row["low"] + 0.2


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(-1, 1)), min_size=1, max_size=40),
    st.integers(1, 12),
)
def test_properties(rows, bins):
    score, label = np.array(rows).T[:, :, None]
    report = calibration_report(score, labels=label.astype(int), names=["a"], bins=bins)
    row = report["classes"]["a"]
    known = label >= 0
    assert sum(cell["n"] for cell in row["bins"]) == row["n"] == known.sum()
    if not known.any():
        assert row["ece"] is None
        return
    # No binning shows less than the difference of the means, and one bin shows just that.
    whole = abs(score[known].mean() - label[known].mean())
    assert whole - 1e-9 <= row["ece"] <= 1
    if bins == 1:
        assert row["ece"] == pytest.approx(whole)
    perfect = calibration_report(np.maximum(label, 0), labels=label.astype(int), names=["a"], bins=bins)
    assert perfect["classes"]["a"]["ece"] == 0
    for cell in row["bins"]:
        if cell["n"]:
            assert cell["low"] - 1e-9 <= cell["mean_score"] <= cell["high"] + 1e-9


@pytest.mark.parametrize(
    ("score", "bins", "message"),
    [
        (1.5, 10, r"class 'a': the score of image 1 is 1.5; calibration is about probabilities"),
        (-0.1, 10, "image 1 is -0.1"),
        (np.nan, 10, "class 'a': the score of image 1 is nan"),
        (0.5, 0, "bins is 0"),
    ],
)
def test_bad_input_is_refused(score, bins, message):
    with pytest.raises(InputError, match=message):
        calibration_report(column(0.5, score), labels=column(0, 1), names=["a"], bins=bins)


def test_agreement_by_hand():
    assert agreement(np.array([0.0, 1.0]), np.array([0.5, 0.0])) == {
        "correlation": pytest.approx(-1),
        "difference": 0.75,
    }
    assert agreement(np.array([0.2, 0.4]), np.array([1.0, 1.0]))["correlation"] is None
