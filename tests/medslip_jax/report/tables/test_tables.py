import numpy as np

from medslip_jax.evaluation.metrics.classification import classification_report
from medslip_jax.evaluation.metrics.classification_intervals import classification_intervals
from medslip_jax.evaluation.metrics.subgroups import subgroup_report
from medslip_jax.report.tables.classification import best_source, classification_table, subgroup_table, threshold_table

SCORES = np.array([[0.1, 0.1], [0.4, 0.4], [0.35, 0.35], [0.8, 0.8]])
LABELS = np.array([[0, 0], [0, 0], [1, 0], [1, 0]])
REPORT = classification_report(SCORES, labels=LABELS, names=["effusion", "hernia"], thresholds={"fixed": 0.5})
INTERVALS = {
    "method": "patient-level bootstrap, percentile",
    "level": 0.95,
    "resamples": 1000,
    "n_patients": 4,
    "macro": {"low": 0.5, "high": 1.0},
    "classes": {"effusion": {"low": 0.5, "high": 1.0}, "hernia": {"low": None, "high": None}},
}


def test_the_whole_table():
    assert str(classification_table(REPORT, intervals=INTERVALS)).splitlines() == [
        "class            n+  n-  AUROC                    AP  max-F1    acc   sens   spec",
        "macro mean of 1          0.750 [0.500, 1.000]  0.833   0.800  0.500  0.500  0.500",
        "---------------------------------------------------------------------------------",
        "effusion          2   2  0.750 [0.500, 1.000]  0.833   0.800  0.500  0.500  0.500",
        "hernia            0   4  -                         -       -      -      -      -",
        "F1, acc, sens, spec: threshold chosen on these very labels (test-oracle), so an upper bound.",
        "[low, high]: 95 % interval, patient-level bootstrap, percentile, 1000 resamples of 4 patients.",
        "Not defined and in no mean (1): hernia: only negative labels (4).",
    ]


def test_another_threshold_source_is_named():
    table = str(classification_table(REPORT, threshold_source="fixed"))
    header, *_, effusion = table.splitlines()[:4]
    assert header.split() == ["class", "n+", "n-", "AUROC", "AP", "F1", "acc", "sens", "spec"]
    assert effusion.split() == ["effusion", "2", "2", "0.750", "0.833", "0.667", "0.750", "0.500", "1.000"]
    assert "threshold fixed beforehand" in table and "test-oracle" not in table


def test_the_best_source_is_one_that_has_thresholds():
    names = ["effusion", "hernia"]
    for given, source in (
        ({"validation": np.array([0.35, np.nan]), "fixed": 0.5}, "validation"),
        ({"validation": np.full(2, np.nan), "fixed": 0.5}, "fixed"),
        ({"validation": np.full(2, np.nan)}, "test-oracle"),
        ({}, "test-oracle"),
    ):
        assert best_source(classification_report(SCORES, labels=LABELS, names=names, thresholds=given)) == source


def test_classes_come_from_the_worst_to_the_best():
    scores = np.hstack([SCORES[:, :1], -SCORES])
    labels = np.hstack([LABELS[:, :1], LABELS[:, :1], 0 * LABELS[:, :1]])
    report = classification_report(scores, labels=labels, names=["good", "bad", "none"])
    assert [line.split()[0] for line in str(classification_table(report)).splitlines()[3:6]] == ["bad", "good", "none"]


def test_thresholds_name_their_source():
    given = {"validation": np.array([0.35, np.nan]), "fixed": 0.5}
    report = classification_report(SCORES, labels=LABELS, names=["effusion", "hernia"], thresholds=given)
    draw = {"patients": range(4), "resamples": 20}
    intervals = classification_intervals(SCORES, labels=LABELS, names=["effusion", "hernia"], thresholds=given, **draw)
    table = str(threshold_table(report, intervals=intervals)).splitlines()
    assert [line.split("  ")[0] for line in table[1:]] == [
        "validation split",
        "fixed beforehand",
        "test-oracle (chosen on these labels)",
    ]
    assert "[" in table[1] and "[" not in table[3]
    assert max(map(len, table)) <= 100


def test_a_subgroup_without_numbers_says_why():
    groups = {"sex": ["F", "F", "M", None]}
    report = subgroup_report(
        SCORES, labels=LABELS, names=["effusion", "hernia"], patients=range(4), groups=groups, resamples=5
    )
    lines = str(subgroup_table(report)).splitlines()
    assert lines[1].split() == ["sex", "F", "2", "2", "-", "0"]
    assert lines[4].startswith("Means of one attribute") and "of at least 10 patients" in " ".join(lines)
    assert "sex M: only 1 patients, fewer than 10." in lines
    assert "sex unknown: the attribute is not known." in lines
