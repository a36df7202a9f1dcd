import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification_intervals import classification_intervals
from medslip_jax.evaluation.metrics.intervals import (
    auroc_table,
    bootstrap,
    mean_intervals,
    n_partial,
    percentile_interval,
    row_means,
    varied_classes,
    weighted_auroc,
)


def test_weighted_auroc_by_hand():
    score, truth = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    weights = np.array([[1, 1, 1, 1], [1, 2, 1, 1], [0, 1, 2, 1], [1, 1, 0, 0], [0, 0, 1, 1]], float).T
    # All once: 3 of 4 pairs. The .4 twice: 1 + 1 + 2 of 6. No .1, .35 twice: 1 of 3. Then one value only.
    np.testing.assert_allclose(
        weighted_auroc(score, truth=truth, weights=weights), [3 / 4, 4 / 6, 1 / 3, np.nan, np.nan]
    )


def test_equal_scores_count_one_half():
    score, truth = np.zeros(5), np.array([0, 0, 0, 1, 1])
    assert weighted_auroc(score, truth=truth, weights=np.ones((5, 1)))[0] == 0.5


def test_table_of_classes_by_hand():
    scores = np.array([[0.1, 0.5], [0.4, 0.5], [0.35, 0.5], [0.8, 0.5]])
    labels = np.array([[0, -1], [0, 0], [1, 1], [1, -1]])
    weights = np.array([[1, 1, 1, 1], [1, 2, 1, 1], [0, 0, 1, 1]], float).T
    # The second class has one pair, a tie. The last resample has no negative.
    np.testing.assert_allclose(auroc_table(scores, labels, weights), [[3 / 4, 1 / 2], [4 / 6, 1 / 2], [np.nan, np.nan]])


def test_means_of_rows_and_partial_rows():
    table = np.array([[1, 3], [np.nan, 4], [np.nan, np.nan]])
    np.testing.assert_array_equal(row_means(table), [2, 4, np.nan])
    assert n_partial(table) == 1


def test_which_classes_patients_can_vary():
    #                  two of each  one positive patient  one value  unknown
    labels = np.array([[1, 1, 0, -1], [1, 1, 0, -1], [0, 0, 0, -1], [0, 0, -1, -1], [1, -1, -1, -1]])
    both, enough = varied_classes(labels, list("aabcd"))
    assert both.tolist() == [True, True, False, False]
    assert enough.tolist() == [True, False, False, False]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 1), st.integers(0, 3), st.floats(0.01, 5)),
        min_size=2,
        max_size=30,
    )
)
def test_weighted_auroc_agrees_with_scikit_learn(rows):
    score, truth, counts, floats = np.array(rows).T
    weights = np.stack([counts, floats], axis=1)
    ours = weighted_auroc(score, truth=truth, weights=weights)
    for column, value in zip(weights.T, ours, strict=True):
        if len(set(truth[column > 0])) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(truth, score, sample_weight=column), abs=1e-12)


def _sample(n, *, seed, classes=3):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, classes)) < 0.4).astype(int)
    return {
        "scores": rng.normal(size=labels.shape) + labels,
        "labels": labels,
        "names": [f"class {i}" for i in range(classes)],
    }


def _standard_error(auroc, *, n_positive, n):
    """Hanley and McNeil, Radiology 143, 1982, equation 1."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (n_positive - 1) * (q1 - auroc**2) + (n - n_positive - 1) * (q2 - auroc**2)
    return (spread / (n_positive * (n - n_positive))) ** 0.5


def test_interval_holds_the_estimate_and_is_reproducible():
    sample = _sample(300, seed=1)
    scores = sample.pop("scores")
    first = classification_intervals(scores, **sample, patients=np.arange(300) // 2, resamples=300, seed=7)
    again = classification_intervals(scores, **sample, patients=np.arange(300) // 2, resamples=300, seed=7)
    other = classification_intervals(scores, **sample, patients=np.arange(300) // 2, resamples=300, seed=8)
    assert first == again != other
    assert first["n_patients"] == 150
    estimates = roc_auc_score(sample["labels"], scores, average=None)
    for name, estimate in zip(sample["names"], estimates, strict=True):
        interval = first["classes"][name]
        assert interval["low"] < estimate < interval["high"]
        width = 2 * 1.96 * _standard_error(estimate, n_positive=sample["labels"][:, int(name[-1])].sum(), n=300)
        assert interval["high"] - interval["low"] == pytest.approx(width, rel=0.2)
    macro = first["macro"]
    assert macro["low"] < estimates.mean() < macro["high"]
    assert macro["high"] - macro["low"] < first["classes"]["class 0"]["high"] - first["classes"]["class 0"]["low"]
    json.dumps(first, allow_nan=False)


def test_copies_of_a_patients_image_add_no_certainty():
    sample = _sample(80, seed=2, classes=1)
    copied = {"labels": np.repeat(sample["labels"], 4, axis=0), "names": sample["names"]}
    four = np.repeat(sample["scores"], 4, axis=0)
    one = classification_intervals(sample.pop("scores"), **sample, patients=np.arange(80), seed=3)
    clustered = classification_intervals(four, **copied, patients=np.repeat(np.arange(80), 4), seed=3)
    pretended = classification_intervals(four, **copied, patients=np.arange(320), seed=3)
    for key in ("low", "high", "n_undefined", "n_partial", "average_precision"):
        assert clustered["macro"][key] == pytest.approx(one["macro"][key])
    width = {k: v["macro"]["high"] - v["macro"]["low"] for k, v in (("c", clustered), ("p", pretended))}
    assert width["p"] < 0.65 * width["c"]


def test_resamples_without_one_value_are_counted():
    # 2 of 6 patients are positive: a resample misses both with probability (4/6)^6 = 0.088.
    labels = np.array([[1], [1], [0], [0], [0], [0]])
    result = classification_intervals(
        np.arange(6.0)[:, None], labels=labels, names=["a"], patients=list("abcdef"), resamples=2000
    )
    expected = 2000 * ((4 / 6) ** 6 + (2 / 6) ** 6)
    assert result["classes"]["a"]["n_undefined"] == pytest.approx(expected, abs=4 * expected**0.5)
    assert result["macro"]["n_undefined"] == result["classes"]["a"]["n_undefined"]
    assert result["macro"]["n_partial"] == 0


def test_partial_macro_means_are_counted():
    sample = _sample(40, seed=4, classes=2)
    sample["labels"][:, 1] = [1, 1] + 38 * [0]
    scores = sample.pop("scores")
    result = classification_intervals(scores, **sample, patients=range(40), resamples=500)
    assert result["classes"]["class 0"]["n_undefined"] == result["macro"]["n_undefined"] == 0
    assert result["macro"]["n_partial"] == result["classes"]["class 1"]["n_undefined"] > 0


@pytest.mark.parametrize(
    "labels, patients",
    [
        ([0, 0, 0, 0], "abcd"),  # one value
        ([1, 1, 0, 0], "aabc"),  # all positives are one patient's
        ([1, 0, 1, 0], "aaaa"),  # one patient
        ([-1, -1, -1, -1], "abcd"),
    ],
)
def test_intervals_that_patients_cannot_vary_are_null(labels, patients):
    result = classification_intervals(
        np.arange(4.0)[:, None],
        labels=np.array(labels)[:, None],
        names=["a"],
        patients=list(patients),
        resamples=50,
    )
    assert result["classes"]["a"]["low"] is result["classes"]["a"]["high"] is None
    assert result["macro"]["low"] is result["macro"]["high"] is None


def test_means_by_hand_and_with_missing_values():
    values = {
        "dice": np.array([0.0, 1.0, np.nan, 1.0]),
        "constant": np.full(4, 0.25),
        "none": np.full(4, np.nan),
    }
    result = mean_intervals(values, patients=list("abca"), resamples=400)
    assert result["means"]["constant"] == {"low": 0.25, "high": 0.25, "n_undefined": 0}
    assert result["means"]["dice"]["low"] >= 0.5 and result["means"]["dice"]["high"] == 1.0
    # Patient c alone, three times: probability 1/27.
    assert result["means"]["dice"]["n_undefined"] == pytest.approx(400 / 27, abs=15)
    assert result["means"]["none"] == {"low": None, "high": None, "n_undefined": 400}


def test_weights_are_whole_patients_and_sum_to_their_number():
    seen = bootstrap(lambda weights: weights.T, n_images=5, patients=list("abbca"), resamples=300)
    assert seen.shape == (300, 5)
    np.testing.assert_array_equal(seen[:, 0], seen[:, 4])
    np.testing.assert_array_equal(seen[:, 1], seen[:, 2])
    np.testing.assert_array_equal(seen[:, [0, 1, 3]].sum(axis=1), 3)


def test_percentiles_by_hand():
    # 0 .. 100: the 2.5 % and 97.5 % points.
    interval = percentile_interval(np.r_[np.arange(101.0), np.nan], level=0.95)
    assert interval == {"low": pytest.approx(2.5), "high": pytest.approx(97.5), "n_undefined": 1}


def test_bad_input_is_refused():
    sample = _sample(6, seed=0)
    scores = sample.pop("scores")
    with pytest.raises(InputError, match="5 patient identifiers for 6 images"):
        classification_intervals(scores, **sample, patients=range(5))
    with pytest.raises(InputError, match="resamples is 0"):
        classification_intervals(scores, **sample, patients=range(6), resamples=0)
    with pytest.raises(InputError, match="level is 95"):
        percentile_interval(scores[:, 0], level=95)
    scores[0, 0] = np.nan
    with pytest.raises(InputError, match="class 'class 0'"):
        classification_intervals(scores, **sample, patients=range(6))
