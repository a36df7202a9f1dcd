"""Sections of the page on a run: numbers by hand, parts that are missing, and text that must not become HTML."""

import numpy as np
from svg_pictures import pictures

from medslip_jax.evaluation.result_files import Judged, Results
from medslip_jax.report.run.calibration import calibration
from medslip_jax.report.run.cases import choose, pick
from medslip_jax.report.run.curves import curves
from medslip_jax.report.run.grounding import grounding
from medslip_jax.report.run.pairs import pairs
from medslip_jax.report.run.scores import classification, subgroups, thresholds_from
from medslip_jax.report.run.training import training

EVIL = '<script>alert(1)</script><img src="http://evil/x.png">'


def decided(threshold: float | None = 0.5) -> dict:
    return {"threshold": threshold, "f1": 0.6, "accuracy": 0.7, "sensitivity": 0.8, "specificity": 0.9}


def report(**classes: tuple) -> dict:
    """Classes of name=(AUROC or None, positives)."""
    rows = {
        name: {
            "n_positive": positives,
            "n_negative": 5,
            "n_unknown": 0,
            "auroc": auroc,
            "average_precision": auroc,
            "by_threshold_source": {"test-oracle": decided() | {"max_f1": 0.65}, "validation": decided()},
        }
        for name, (auroc, positives) in classes.items()
    }
    sources = {"test-oracle": decided() | {"max_f1": 0.65}, "validation": decided()}
    return {
        "n_images": 9,
        "macro": {
            "auroc": 0.75,
            "average_precision": 0.5,
            "by_threshold_source": sources,
            "n_defined": 2,
            "n_undefined": 1,
        },
        "undefined": {name: "only positive labels (3)" for name, (auroc, _) in classes.items() if auroc is None},
        "classes": rows,
    }


def test_classification_names_its_threshold_and_what_is_undefined():
    text = classification({"report": report(mass=(0.7, 3), edema=(0.8, 4), hernia=(None, 3))}, what="pathology")
    order = ["macro mean of 2", ">mass<", ">edema<", ">hernia<", "threshold chosen on the validation split"]
    assert sorted(order, key=text.index) == order and text.count("macro mean of 2") == 1
    assert "<th>F1</th>" in text and "hernia: only positive labels (3)" in text


def test_intervals_stand_beside_their_values():
    section = {
        "report": report(mass=(0.7, 3)),
        "intervals": {
            "level": 0.95,
            "method": "percentile",
            "resamples": 9,
            "n_patients": 8,
            "macro": {"low": 0.6, "high": 0.8},
            "classes": {"mass": {"low": 0.55, "high": None}},
        },
    }
    text = classification(section, what="pathology")
    assert text.count("0.750 [0.600, 0.800]") == 1 and ">0.700<" in text


def test_subgroups_and_a_group_that_is_too_small():
    numbers = {"auroc": 0.9, "low": 0.8, "high": 0.95}
    none = {"auroc": None, "low": None, "high": None, "reason": "2 patients", "n_defined": 0}
    counts = {"n_images": 7, "n_patients": 6}
    by_class = {EVIL: numbers | {"n_positive": 2, "n_negative": 5}}
    groups = {
        EVIL: {"F": counts | {"macro": numbers | {"n_defined": 1}, "classes": by_class}, "M": counts | {"macro": none}}
    }
    text = subgroups(groups)
    assert "those with positives and negatives in each of its groups of at least 10 patients" in text
    assert "0.900 [0.800, 0.950]" in text and "2 patients" in text and "<script" not in text and "<img" not in text
    assert subgroups({}) == ""


def test_training_curves_and_a_missing_file():
    lines = [{"step": 2, "loss": 1.0, "icl": 0.5, "note": EVIL}, {"step": 1, "loss": 2.0, "val_auroc": None, EVIL: 3.0}]
    text = training(lines, unreadable=1)
    assert len(pictures(text)) == 3  # loss, terms, the unknown one
    assert "1 lines of metrics.jsonl could not be read" in text and "<script" not in text
    assert '<td class="name">loss</td><td class="n">2</td><td class="name">1</td>' in text
    assert "metrics.jsonl is not there" in training(None)
    assert "no usable line" in training([])


def test_calibration_by_hand_and_missing():
    def one(low: float, n: int, mean, share) -> dict:
        return {"low": low, "high": low + 0.5, "n": n, "mean_score": mean, "fraction_positive": share}

    bins = [one(0.0, 3, 0.2, 1 / 3), one(0.5, 1, 0.75, 1.0)]
    found = {
        "bins": 2,
        "binning": "equal-width",
        "macro": {"ece": 0.1625},
        "classes": {EVIL: {"ece": 0.1625, "bins": bins}, "none": {"ece": None, "bins": [one(0.0, 0, None, None)]}},
    }
    text = calibration(found)
    assert "error (ECE): 0.163" in text or "error (ECE): 0.162" in text
    assert len(pictures(text)) == 1 and "4 labels" in text and "<script" not in text
    # Two classes, and both pooled.
    found["classes"]["second"] = {"ece": 0.1625, "bins": bins}
    both = calibration(found)
    assert len(pictures(both)) == 3 and "macro mean over 2 classes" in both and "all classes pooled" in both
    assert "evaluate again" in calibration(None) and "evaluate again" in calibration({"classes": {}})


def test_pairs_only_where_enough_reports_mention_them():
    predictions = {
        "pair_predicted": np.array([[0.2, np.nan], [0.9, 0.5]]),
        "pair_true": np.array([[0.1, np.nan], [0.8, 0.5]]),
        "pair_count": np.array([[5, 0], [50, 4]]),
        "anatomy_names": np.array(["left", EVIL]),
        "pathology_names": np.array(["mass", "edema"]),
    }
    text = pairs(predictions)
    assert "2 pairs" in text and "55 mentions" in text and "difference: 0.100" in text and "1.000" in text
    assert "mass" in text and "edema" not in text and "<script" not in text
    assert "one stream" in pairs({})
    assert "No pair" in pairs(predictions | {"pair_count": np.ones((2, 2))})


def test_grounding_has_every_truth_and_protocol():
    located = {"variant": EVIL, "iou_above": 0.5, "localisation_accuracy": 0.0, "precision": 0.75}
    located |= {"recall": 0.5, "f1": 0.6, "n_predicted": 0, "n_true": 2}
    row = {"n_images": 3, "maps": "alone", "upsampling": "cells", "threshold": None}
    row |= {"pointing_cell": 0.0, "chance_cell": 0.1}
    rows = [row | {"protocol": name, "iou": 0.25, "dice": 0.4} for name in ("per-image", EVIL)]
    pooled = {"classes": ["mass"], "n_cases": 3, "means": {"pointing_cell": 0.3}, "intervals": {}}
    pooled |= {"chance": {"chance_cell": 0.125}, "detection": [located]}
    part = {"classes": {"mass": {"n_images": 3, "protocols": rows, "detection": [located]}}, "pooled": {"all": pooled}}
    text = grounding({"size": 224, "truth": "boxes", **part, "masks": {"truth": "masks", **part}})
    assert "<script" not in text and "<img" not in text
    assert "<summary>findings, masks, 224 x 224 pixels</summary>" in text and "<p>mass: 3 images</p>" in text
    assert "0.000 (0.100)" in text  # a hit rate of zero is a result
    assert text.count('<td class="n">0.125</td>') == 2  # in both sections
    assert text.count("arg-max cell") == 2 and text.count("&lt;script&gt;") == 2 * 3


def test_the_rule_by_hand():
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6, 0.2]), np.array([1, 0, 1, 1, 1])
    assert pick(scores, labels, threshold=0.5) == {"true positive": 2, "false positive": 1, "miss": 4}
    assert pick(np.array([0.5]), np.array([1]), threshold=0.5) == {"miss": 0}  # not above
    ties = pick(np.array([0.9, 0.9, 0.1, 0.1]), np.array([0, 0, 1, 1]), threshold=0.5)
    assert ties == {"false positive": 0, "miss": 2}
    assert pick(scores, np.full(5, -1), threshold=0.5) == {}


def results(known: dict, **arrays) -> Results:
    return Results("there", {"classification": {name: {"report": report} for name, report in known.items()}}, arrays)


def two_images(names: list[str]) -> list[np.ndarray]:
    """Names, scores and labels: both images have everything, the first is called so."""
    return [np.array(names), np.tile([[0.9], [0.1]], (1, len(names))), np.ones((2, len(names)), int)]


def test_classes_are_chosen_by_focus_then_by_count():
    names = ["mass", "edema", "nodule", "normal", "hernia"]
    arrays = dict(zip(("pathology_names", "pathology", "labels"), two_images(names), strict=True))
    arrays["map_names"] = np.array(["mass", "edema", "nodule", "normal"])
    known = report(mass=(0.7, 3), edema=(0.7, 9), nodule=(0.7, 2), normal=(0.7, 99), hernia=(0.7, 50))
    chosen = choose(results({"pathology": known}, **arrays), focal=("nodule", "picc"), count=5)
    assert [(c.name, c.kind) for c in chosen] == [
        ("nodule", "true positive"),
        ("nodule", "miss"),
        ("edema", "true positive"),
        ("edema", "miss"),
        ("mass", "true positive"),
    ]
    assert chosen[1].row == 1 and chosen[1].threshold == 0.5 and chosen[1].source == "validation"


def test_queries_given_as_text_come_first_and_need_no_map():
    arrays = dict(zip(("pathology_names", "pathology", "labels"), two_images(["mass", "edema"]), strict=True))
    arrays |= dict(zip(("target_names", "extra", "targets"), two_images(["flu", "mass"]), strict=True))
    arrays["map_names"] = np.array(["mass"])
    known = {"pathology": report(mass=(0.7, 3), edema=(0.7, 9)), "targets": report(mass=(0.7, 1), flu=(0.7, 2))}
    chosen = choose(results(known, **arrays), focal=("mass",), count=9)
    assert [(c.section, c.name) for c in chosen[::2]] == [
        ("targets", "mass"),
        ("targets", "flu"),
        ("pathology", "mass"),
    ]
    texts_alone = {name: arrays[name] for name in ("target_names", "extra", "targets")}
    only = choose(results({"targets": known["targets"]}, **texts_alone), focal=(), count=1)
    assert [(c.name, c.row) for c in only] == [("flu", 0)]


def test_curves_of_one_class_need_no_overview():
    scores, labels = np.array([[0.9, 0.1], [0.2, 0.2], [0.7, 0.3]]), np.array([[1, 0], [0, -1], [-1, 0]])
    one = curves(Judged(["flu", "none"], scores, labels))
    assert "AUROC 1.000, AP 1.000; 1 positive, 1 negative" in one and "all classes" not in one and ">none<" not in one
    both = curves(Judged(["flu", "cold"], scores, np.array([[1, 1], [0, 0], [1, 0]])))
    assert "All 2 classes" in both and "ROC, all classes" in both
    assert "No curve" in curves(Judged(["none"], scores[:, 1:], labels[:, 1:]))


def test_where_thresholds_come_from():
    metrics = {"classification": {"targets": {"report": report(flu=(0.7, 3))}}, "threshold_split": "validation"}
    assert thresholds_from(metrics) == "validation"
    sources = metrics["classification"]["targets"]["report"]["macro"]["by_threshold_source"]
    sources["fixed"] = sources.pop("validation")
    metrics |= {"thresholds": {"sources": {"fixed": {"threshold": 0.4}}}, "threshold_split": None}
    assert thresholds_from(metrics) == "fixed beforehand (0.4)"
    del sources["fixed"]
    assert thresholds_from(metrics) == "the judged split itself (test-oracle)"
