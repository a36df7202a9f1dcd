import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.paired import difference_row, holm, paired_classification, paired_means, two_sided_p


def _sample(n=200, *, seed=0, classes=2, gain=0.0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, classes)) < 0.4).astype(int)
    a = rng.normal(size=labels.shape) + labels
    b = a + 0.3 * rng.normal(size=labels.shape) + gain * labels
    return a, b, {"labels": labels, "names": [f"c{i}" for i in range(classes)], "patients": np.arange(n) // 2}


def test_a_result_against_itself_differs_by_nothing():
    a, _, sample = _sample()
    found = paired_classification(a, a, **sample, resamples=100)
    for row in (found["macro"]["auroc"], found["classes"]["c0"]["average_precision"]):
        assert (row["difference"], row["low"], row["high"], row["p"]) == (0, 0, 0, 1)
    # A monotone map changes no rank.
    found = paired_classification(a, np.exp(a / 3), **sample, resamples=100)
    assert found["macro"]["auroc"]["p"] == 1


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_a_swap_flips_the_sign(seed):
    a, b, sample = _sample(60, seed=seed)
    there = paired_classification(a, b, **sample, resamples=50, seed=seed)
    back = paired_classification(b, a, **sample, resamples=50, seed=seed)
    rows = [(there["macro"][m], back["macro"][m]) for m in ("auroc", "average_precision")]
    for one, other in rows:
        assert one["difference"] == pytest.approx(-other["difference"])
        assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]))
        assert one["p"] == other["p"]


def test_a_real_gain_is_found_and_pairing_narrows_its_interval():
    a, b, sample = _sample(gain=0.8)
    found = paired_classification(a, b, **sample, resamples=400)["macro"]["auroc"]
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["p"] == pytest.approx(2 / 401)
    unpaired = paired_classification(a, b[::-1], **sample | {"labels": sample["labels"]}, resamples=400)
    wide = unpaired["macro"]["auroc"]
    assert found["high"] - found["low"] < 0.7 * (wide["high"] - wide["low"])


def test_noise_is_rarely_called_a_difference():
    """Under no difference the p-value is about uniform: of 60 trials hardly more than a few lie below .05."""
    small = 0
    for seed in range(60):
        a, b, sample = _sample(100, seed=seed, classes=1)
        a = a + 0.3 * np.random.default_rng(1000 + seed).normal(size=a.shape)
        found = paired_classification(a, b, **sample, resamples=99, seed=seed)
        small += found["macro"]["auroc"]["p"] < 0.05
    assert small <= 9


def test_four_images_by_hand():
    # .1 .4 .35 .8 of 0 0 1 1: 3 of 4 pairs, precision 1 and 2/3.  With .2 in place of .4 all is in order; with one
    # score for all it is chance.
    a, b, none = np.array([[0.1, 0.4, 0.35, 0.8], [0.1, 0.2, 0.35, 0.8], [0.5] * 4])[..., None]
    known = {"labels": np.array([[0], [0], [1], [1]]), "names": ["a"], "patients": list("pqrs"), "resamples": 50}
    found = paired_classification(a, b, **known)
    row = found["macro"]["auroc"]
    assert (row["a"], row["b"], row["difference"]) == (3 / 4, 1, 1 / 4)
    assert found["macro"]["average_precision"]["difference"] == pytest.approx(1 - (1 + 2 / 3) / 2)
    assert found["classes"]["a"]["auroc"] == row | {"p_holm": row["p"]}  # one class, one test
    tied = paired_classification(b, none, **known)["classes"]["a"]
    assert (tied["auroc"]["difference"], tied["average_precision"]["difference"]) == (-1 / 2, -1 / 2)


def test_a_difference_by_hand():
    row = difference_row(0.5, 0.75, replicates=np.array([0.0, 0.25, 0.5, np.nan]), level=0.5)
    # 0 .25 .5: the quarters; one of three is not above 0, so p = 2 * 2 / 4.
    assert row == {"a": 0.5, "b": 0.75, "difference": 0.25, "low": 0.125, "high": 0.375, "n_undefined": 1, "p": 1.0}
    missing = difference_row(None, 0.75, replicates=np.array([np.nan]))
    assert missing["difference"] is missing["low"] is missing["p"] is None


def test_undefined_classes_are_null():
    a, b, sample = _sample()
    sample["labels"][:, 1] = 0
    found = paired_classification(a, b, **sample, resamples=20)
    row = found["classes"]["c1"]["auroc"]
    assert row["a"] is row["difference"] is row["p"] is row["p_holm"] is row["low"] is None
    assert found["macro"]["n_defined"] == 1
    assert found["macro"]["auroc"]["difference"] == found["classes"]["c0"]["auroc"]["difference"]
    json.dumps(found, allow_nan=False)


def test_means_by_hand():
    a, b = np.array([0.0, 1, 0, 0]), np.array([1.0, 1, 1, 0])
    row = paired_means(a, b, patients=list("abcd"), resamples=200)
    assert (row["a"], row["b"], row["difference"]) == (0.25, 0.75, 0.5)
    assert 0 <= row["low"] < 0.5 < row["high"] <= 1
    one = paired_means(a, b, patients=list("aaaa"), resamples=20)
    assert one["low"] is one["p"] is None


def test_p_by_hand():
    # 3 of 99 below zero: 2 * 4 / 100.
    assert two_sided_p(np.r_[-np.ones(3), np.ones(96)]) == pytest.approx(0.08)
    assert two_sided_p(np.r_[np.ones(3), -np.ones(96)]) == pytest.approx(0.08)
    assert two_sided_p(np.r_[np.ones(99), np.nan]) == pytest.approx(0.02)
    assert two_sided_p(np.array([1e-17, -1e-17, 0.0])) == 1.0
    assert two_sided_p(np.array([np.nan])) is None


def test_holm_by_hand():
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.06, 0.03, None, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_bad_input_is_refused():
    a, b, sample = _sample(10)
    for value in (np.inf, np.nan):
        b[3, 1] = value
        for pair in ((a, b), (b, a)):
            with pytest.raises(InputError, match=f"class 'c1': the score of image 3 is {value}"):
                paired_classification(*pair, **sample)
    with pytest.raises(InputError, match="3 patient identifiers for 10 images"):
        paired_classification(a, a, **sample | {"patients": "abc"})
    for one, other in (([0.5, np.nan], [1, 1]), ([1, 1], [1, np.inf]), ([1], [1, 1]), ([], [])):
        with pytest.raises(InputError, match="one finite number a case"):
            paired_means(np.array(one, float), np.array(other, float), patients=range(len(one)))
