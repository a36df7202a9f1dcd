import json

import numpy as np
import pytest
from calls import counted_calls
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, recall_score

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.metrics.classification_intervals import (
    DECIDED,
    average_precision_table,
    classification_intervals,
    decision_table,
    weighted_average_precision,
)

ROWS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 1), st.integers(0, 3), st.floats(0.01, 5)), min_size=2, max_size=30
)


def test_average_precision_by_hand():
    score, truth = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    weights = np.array([[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 0, 0]], float).T
    # All once: (1/1 + 2/3) / 2. The .4 twice: (1/1 + 2/4) / 2. No positive.
    got = weighted_average_precision(score, truth=truth, weights=weights)
    np.testing.assert_allclose(got, [5 / 6, 3 / 4, np.nan])


def test_tables_by_hand():
    scores = np.array([[0.1, 0.2], [0.4, 0.2], [0.35, 0.2], [0.8, 0.2]])
    labels = np.array([[0, 1], [0, -1], [1, 1], [1, 1]])  # the second class has one label value
    weights = np.array([[1, 1, 1, 1], [1, 2, 1, 1]], float).T
    np.testing.assert_allclose(average_precision_table(scores, labels, weights), [[5 / 6, np.nan], [3 / 4, np.nan]])
    table = decision_table(scores, labels, weights, thresholds=np.array([0.35, 0.1]))
    # score > .35 (not at it): .8 is a hit, .4 a false alarm, .35 a miss.  Then the false alarm counts twice.
    np.testing.assert_allclose(table[:, 0, 0], [2 * 1 / (2 + 2), 2 / 4, 1 / 2, 1 / 2])
    np.testing.assert_allclose(table[:, 1, 0], [2 * 1 / (3 + 2), 2 / 5, 1 / 2, 1 / 3])
    assert np.isnan(table[:, :, 1]).all()
    nowhere = decision_table(scores, labels, weights, thresholds=np.array([np.nan, np.nan]))
    assert np.isnan(nowhere).all()


def test_ties_are_one_step():
    """All scores equal: one point of recall 1, where precision is the prevalence."""
    got = weighted_average_precision(np.zeros(5), truth=np.array([0, 0, 0, 1, 1]), weights=np.ones((5, 1)))
    assert got == pytest.approx([0.4])
    # Ties at the maximum: a positive and a negative share the first place.
    got = weighted_average_precision(np.array([1.0, 1, 0]), truth=np.array([1, 0, 1]), weights=np.ones((3, 1)))
    assert got == pytest.approx([1 / 2 * 1 / 2 + 1 / 2 * 2 / 3])


@settings(max_examples=60)
@given(ROWS)
def test_average_precision_agrees_with_scikit_learn(rows):
    score, truth, counts, floats = np.array(rows).T
    weights = np.stack([counts, floats], axis=1)
    ours = weighted_average_precision(score, truth=truth, weights=weights)
    for column, value in zip(weights.T, ours, strict=True):
        if not (truth[column > 0] == 1).any():
            assert np.isnan(value)
        else:
            assert value == pytest.approx(average_precision_score(truth, score, sample_weight=column), abs=1e-12)


@settings(max_examples=60)
@given(ROWS, st.sampled_from([-1.0, 0.0, 2.5, 3.0, 6.0]))
def test_decisions_agree_with_scikit_learn(rows, threshold):
    score, truth, counts, floats = np.array(rows).T
    weights = np.stack([counts, floats], axis=1)
    table = decision_table(score[:, None], truth.astype(int)[:, None], weights, thresholds=np.array([threshold]))
    said = score > threshold
    for column, values in zip(weights.T, table[:, :, 0].T, strict=True):
        if len(set(truth[column > 0])) < 2:
            assert np.isnan(values).all()
            continue
        weighted = {"sample_weight": column}
        expected = {
            "f1": f1_score(truth, said, zero_division=0.0, **weighted),
            "accuracy": accuracy_score(truth, said, **weighted),
            "sensitivity": recall_score(truth, said, **weighted),
            "specificity": recall_score(truth, said, pos_label=0, **weighted),
        }
        assert dict(zip(DECIDED, values, strict=True)) == pytest.approx(expected, abs=1e-9)


def _sample(n, *, seed, classes=3):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, classes)) < 0.3).astype(int)
    scores = 1 / (1 + np.exp(-(rng.normal(size=labels.shape) + 2 * labels - 1)))
    return scores, {"labels": labels, "names": [f"class {i}" for i in range(classes)]}


def test_intervals_hold_the_estimates_and_extend_those_of_the_auroc():
    scores, sample = _sample(300, seed=1)
    thresholds = {"validation": np.array([0.5, 0.6, np.nan]), "fixed": 0.5}
    draw = {"patients": np.arange(300) // 2, "resamples": 300, "seed": 7}
    found = classification_intervals(scores, **sample, thresholds=thresholds, **draw)
    report = classification_report(scores, **sample, thresholds=thresholds)
    plain = classification_intervals(scores, **sample, **draw)
    for row, alone in [(found["macro"], plain["macro"])] + [
        (found["classes"][name], plain["classes"][name]) for name in sample["names"]
    ]:
        assert row | {"by_threshold_source": {}} == alone
    for interval, row in [(found["macro"], report["macro"])] + [
        (found["classes"][name], report["classes"][name]) for name in sample["names"]
    ]:
        ap = interval["average_precision"]
        assert ap["low"] < row["average_precision"] < ap["high"]
        for source, values in row["by_threshold_source"].items():
            for key in DECIDED if source != "test-oracle" else ():
                ends = interval["by_threshold_source"][source][key]
                if values[key] is None:
                    assert ends["low"] is None
                else:
                    assert ends["low"] < values[key] < ends["high"]
    assert "test-oracle" not in found["macro"]["by_threshold_source"]
    json.dumps(found, allow_nan=False)


def test_one_valued_classes_and_single_patients_are_null():
    scores = np.array([[0.1, 0.2], [0.4, 0.3], [0.3, 0.4], [0.8, 0.5]])
    labels = np.array([[0, 0], [0, 0], [1, 0], [1, -1]])
    found = classification_intervals(
        scores, labels=labels, names=["a", "never"], patients=list("abcc"), thresholds={"fixed": 0.35}, resamples=50
    )
    for row in (found["classes"]["a"], found["classes"]["never"], found["macro"]):
        assert row["low"] is row["average_precision"]["high"] is None
        assert row["by_threshold_source"]["fixed"]["f1"]["low"] is None


def test_bad_scores_are_refused():
    scores, sample = _sample(10, seed=3)
    scores[6, 2] = np.nan
    with pytest.raises(InputError, match="class 'class 2': the score of image 6 is nan"):
        classification_intervals(scores, **sample, patients=range(10))


def test_many_classes_stay_fast():
    scores, sample = _sample(2000, seed=5, classes=20)
    with counted_calls() as calls:
        classification_intervals(scores, **sample, patients=np.arange(2000), thresholds={"fixed": 0.5}, resamples=500)
    # 27,000; a loop over classes and resamples would make 10,000 calls of scikit-learn, of hundreds of calls each.
    assert calls["count"] < 100_000
