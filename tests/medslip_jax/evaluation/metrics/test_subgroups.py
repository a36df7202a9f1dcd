import json

import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.metrics.subgroups import age_band, subgroup_report


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (0, "0-17"),
        (17.99, "0-17"),
        (18, "18-39"),
        (39, "18-39"),
        (40, "40-59"),
        (60, "60-79"),
        (80, "80+"),
        (119, "80+"),
        *((unknown, None) for unknown in (None, -1, "58", True, float("nan"))),
    ],
)
def test_age_bands(age, band):
    assert age_band(age) == band


def _sample(n=120):
    rng = np.random.default_rng(0)
    labels = (rng.random((n, 3)) < 0.4).astype(int)
    labels[::2, 2] = 0  # no positive of "hard" among the even rows
    scores = rng.random((n, 3)) / 2 + labels / 3
    return scores, {"labels": labels, "names": ["a", "b", "hard"], "patients": np.arange(n)}


def test_groups_are_judged_on_their_own_rows_and_on_common_classes():
    scores, sample = _sample()
    sex = ["F" if i % 2 == 0 else "M" for i in range(120)]
    report = subgroup_report(scores, **sample, groups={"sex": sex}, resamples=100)["sex"]
    assert list(report) == ["F", "M"]
    for value, rows in (("F", slice(0, None, 2)), ("M", slice(1, None, 2))):
        group = report[value]
        alone = classification_report(scores[rows], labels=sample["labels"][rows], names=sample["names"])
        assert (group["n_images"], group["n_patients"]) == (60, 60)
        for name in ("a", "b"):
            assert group["classes"][name]["auroc"] == alone["classes"][name]["auroc"]
        # "hard" is defined for M alone, so it is in neither mean.
        assert group["macro_classes"] == ["a", "b"] and group["macro"]["n_defined"] == 2
        mean = np.mean([alone["classes"][name]["auroc"] for name in ("a", "b")])
        assert group["macro"]["auroc"] == pytest.approx(mean)
        assert group["macro"]["low"] < mean < group["macro"]["high"]
    assert report["F"]["classes"]["hard"]["reason"] == "only negative labels (60)"
    assert report["M"]["classes"]["hard"]["auroc"] is not None
    json.dumps(report, allow_nan=False)


def test_two_groups_by_hand():
    # F: .1 .4 .35 .8 of 0 0 1 1, 3 of 4 pairs in order.  M: .5 .5 .9 .2 of 1 0 1 0, and the tie counts one half.
    scores = np.array([0.1, 0.4, 0.35, 0.8, 0.5, 0.5, 0.9, 0.2])[:, None]
    labels = np.array([0, 0, 1, 1, 1, 0, 1, 0])[:, None]
    report = subgroup_report(
        scores,
        labels=labels,
        names=["a"],
        patients=range(8),
        groups={"sex": list("FFFFMMMM")},
        resamples=20,
        min_patients=4,
    )["sex"]
    assert [report[value]["macro"]["auroc"] for value in "FM"] == [3 / 4, 3.5 / 4]
    assert report["F"]["classes"]["a"]["n_positive"] == report["M"]["classes"]["a"]["n_negative"] == 2


def test_small_and_unknown_groups_have_counts_and_a_reason():
    scores, sample = _sample()
    bands = ["80+" if i < 9 else None if i < 15 else "18-39" for i in range(120)]
    report = subgroup_report(scores, **sample, groups={"age_band": bands}, resamples=20)["age_band"]
    assert list(report) == ["18-39", "80+", "unknown"]
    assert report["80+"]["macro"]["reason"] == "only 9 patients, fewer than 10"
    assert report["unknown"]["macro"]["reason"] == "the attribute is not known"
    assert report["80+"]["classes"]["a"]["auroc"] is None
    assert report["80+"]["classes"]["a"]["n_positive"] == int(sample["labels"][:9, 0].sum())
    # They do not narrow the classes of the others.
    assert report["18-39"]["macro_classes"] == ["a", "b", "hard"]


def test_images_of_one_patient_do_not_make_a_group_large():
    scores, sample = _sample()
    sample["patients"] = np.arange(120) // 20
    report = subgroup_report(scores, **sample, groups={"view": ["PA"] * 120}, resamples=5)["view"]
    assert report["PA"]["macro"]["reason"] == "only 6 patients, fewer than 10"


def test_no_common_class_is_said():
    scores, sample = _sample()
    sample["labels"] = np.where(np.arange(120)[:, None] % 2 == 0, 0, sample["labels"])
    sex = ["F" if i % 2 == 0 else "M" for i in range(120)]
    report = subgroup_report(scores, **sample, groups={"sex": sex}, resamples=5)["sex"]
    assert report["M"]["macro"]["reason"] == "no class has positives and negatives in every group"
    assert report["M"]["classes"]["a"]["auroc"] is not None


def test_bad_input_is_refused():
    scores, sample = _sample()
    with pytest.raises(InputError, match="subgroup 'sex': 3 values for 120 images"):
        subgroup_report(scores, **sample, groups={"sex": ["F"] * 3})
    scores[4, 1] = np.nan
    with pytest.raises(InputError, match="class 'b': the score of image 4 is nan"):
        subgroup_report(scores, **sample, groups={"sex": ["F"] * 120})
