"""Multi-label classification (SPEC 7): AUROC, average precision, F1, accuracy; by class and macro means."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_curve,
    recall_score,
    roc_auc_score,
)

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.intervals import mean_or_none

ORACLE = "test-oracle"
GIVEN_SOURCES = ("validation", "fixed")
_POINT = ("threshold", "f1", "accuracy", "sensitivity", "specificity")


def classification_report(
    scores: np.ndarray,
    *,
    labels: np.ndarray,
    names: Sequence[str],
    thresholds: Mapping[str, np.ndarray | float] | None = None,
) -> dict:
    """Every classification number of SPEC 7, JSON-able.

    `max_f1` is the best F1 over the distinct scores t with the decision `score >= t`, the lowest t among equals, found
    on these very labels and therefore under "test-oracle". `f1`, `accuracy`, `sensitivity` and `specificity` belong to
    `score > threshold`, so under "test-oracle" `f1` can lie below `max_f1`: the image that sets the threshold is not
    itself above it. The released evaluation mixes the two decisions in this way, and its accuracy is ours.

    Args:
      scores: float N x C, finite; larger means more likely present. Any monotone scale for AUROC.
      labels: int N x C, 1 present, 0 absent, -1 unknown (left out for that class only).
      names: C distinct class names.
      thresholds: {"validation": C values of `best_thresholds` on that split, "fixed": C or one}; NaN for none.

    Returns:
      {"n_images",
       "macro": {"auroc", "average_precision", "by_threshold_source", "n_defined", "n_undefined"},
       "undefined": {name: reason},
       "classes": {name: {"n_positive", "n_negative", "n_unknown", "auroc", "average_precision",
                          "by_threshold_source": {source: {"threshold", "f1", "accuracy", "sensitivity",
                                                           "specificity"[, "max_f1"]}}}}}
      with "test-oracle" always among the sources, the only one with "max_f1". A class whose known labels hold one value
      has null for every number and its reason under "undefined". Macro numbers are means over the defined classes; each
      threshold source counts its own, as a class may lack a validation threshold.

    Raises:
      InputError: no images, shapes that disagree, repeated names, labels outside {-1, 0, 1}, a score that is not finite
        (the class is named), or an unknown threshold source.
    """
    scores, labels = check_scores(scores, labels=labels, names=names)
    given = given_thresholds(thresholds or {}, names=names)
    classes, undefined = {}, {}
    for column, name in enumerate(names):
        known = labels[:, column] >= 0
        truth, score = labels[known, column], scores[known, column]
        at = {source: float(values[column]) for source, values in given.items()}
        if reason := _undefined_reason(truth):
            undefined[name] = reason
        counts = {"n_positive": truth.sum(), "n_negative": (truth == 0).sum(), "n_unknown": (~known).sum()}
        numbers = _class_numbers(truth, score, at=at, defined=not reason)
        classes[name] = {key: int(count) for key, count in counts.items()} | numbers
    return {
        "n_images": len(labels),
        "macro": _macro(list(classes.values()), n_undefined=len(undefined)),
        "undefined": undefined,
        "classes": classes,
    }


def best_thresholds(scores: np.ndarray, *, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The max-F1 threshold of each class (see `classification_report`): float64 C, NaN if undefined.

    Run it on the validation split and pass the result as `thresholds={"validation": ...}` for the test split.

    >>> scores, labels = np.array([[0.2, 0.9], [0.7, 0.1]]), np.array([[0, 1], [1, -1]])
    >>> best_thresholds(scores, labels=labels, names=["effusion", "edema"]).tolist()
    [0.7, nan]
    """
    classes = classification_report(scores, labels=labels, names=names)["classes"]
    return np.array([row["by_threshold_source"][ORACLE]["threshold"] for row in classes.values()], np.float64)


def max_f1(truth: np.ndarray, *, score: np.ndarray) -> dict[str, float]:
    """{"max_f1", "threshold"} of one class: the best F1 of `score >= threshold` over the distinct scores.

    >>> max_f1(np.array([0, 1, 0, 1]), score=np.array([0.1, 0.4, 0.6, 0.8]))
    {'max_f1': 0.8, 'threshold': 0.4}

    Args:
      truth: int N in {0, 1} with at least one 1.
      score: float N, finite.
    """
    precision, recall, thresholds = precision_recall_curve(truth, score)
    # The curve's last point (recall 0) has no threshold; a sum of 0 means no true positive, hence F1 = 0.
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1.0)
    best = int(np.argmax(f1))
    return {"max_f1": float(f1[best]), "threshold": float(thresholds[best])}


def check_scores(scores: np.ndarray, *, labels: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(scores float64 N x C, labels int8 N x C); raises as `classification_report` does."""
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape or scores.shape[1] != len(names):
        raise InputError(
            f"scores {scores.shape}, labels {labels.shape} and {len(names)} class names disagree; "
            "give both arrays as images x classes"
        )
    if not len(scores):
        raise InputError("there are no images to evaluate; check the split's name and size")
    if len(set(names)) != len(names):
        repeated = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"class name {repeated!r} occurs more than once; give each class its own name")
    bad = ~np.isfinite(scores)
    if bad.any():
        column = int(np.argmax(bad.any(axis=0)))
        row = int(np.argmax(bad[:, column]))
        raise InputError(
            f"class {names[column]!r}: the score of image {row} is {scores[row, column]} "
            f"({bad[:, column].sum()} such of this class); find out why the model's output is not finite"
        )
    strange = ~np.isin(labels, (-1, 0, 1))
    if strange.any():
        row, column = np.argwhere(strange)[0]
        raise InputError(
            f"class {names[column]!r}: the label of image {row} is {labels[row, column]}; use 1, 0 or -1 (unknown)"
        )
    return scores, labels.astype(np.int8)


def given_thresholds(thresholds: Mapping[str, np.ndarray | float], *, names: Sequence[str]) -> dict[str, np.ndarray]:
    """{source: float64 C} of `classification_report`'s `thresholds`; `InputError` for a bad source or length."""
    given = {}
    for source, values in thresholds.items():
        values = np.asarray(values, np.float64)
        if source not in GIVEN_SOURCES:
            raise InputError(f"unknown threshold source {source!r}; use one of {', '.join(GIVEN_SOURCES)}")
        if values.shape not in ((), (len(names),)):
            raise InputError(f"{source} thresholds have shape {values.shape}; give one or {len(names)} of them")
        given[source] = np.broadcast_to(values, (len(names),))
    return given


def _undefined_reason(truth: np.ndarray) -> str | None:
    if not len(truth):
        return "no image with a known label"
    if truth.min() == truth.max():
        return f"only {'positive' if truth[0] else 'negative'} labels ({len(truth)})"
    return None


def _class_numbers(truth: np.ndarray, score: np.ndarray, *, at: Mapping[str, float], defined: bool) -> dict:
    best = max_f1(truth, score=score) if defined else {"max_f1": np.nan, "threshold": np.nan}
    oracle = {"max_f1": best["max_f1"] if defined else None}
    points = {ORACLE: oracle | _decide(truth, score, threshold=best["threshold"], defined=defined)}
    points |= {source: _decide(truth, score, threshold=value, defined=defined) for source, value in at.items()}
    return {
        "auroc": float(roc_auc_score(truth, score)) if defined else None,
        "average_precision": float(average_precision_score(truth, score)) if defined else None,
        "by_threshold_source": points,
    }


def _decide(truth: np.ndarray, score: np.ndarray, *, threshold: float, defined: bool) -> dict[str, float | None]:
    if np.isnan(threshold) or not defined:
        return dict.fromkeys(_POINT) | {"threshold": None if np.isnan(threshold) else threshold}
    said = score > threshold
    return {
        "threshold": threshold,
        "f1": float(f1_score(truth, said, zero_division=0.0)),
        "accuracy": float(accuracy_score(truth, said)),
        "sensitivity": float(recall_score(truth, said)),
        "specificity": float(recall_score(truth, said, pos_label=0)),
    }


def _macro(rows: list[dict], *, n_undefined: int) -> dict:
    """Means over the classes with a number; a class with an AUROC can still lack a validation threshold."""
    points = {}
    for source in rows[0]["by_threshold_source"] if rows else ():
        cells = [row["by_threshold_source"][source] for row in rows]
        means = {key: _mean([cell[key] for cell in cells]) for key in cells[0] if key != "threshold"}
        points[source] = means | {"n_defined": sum(cell["accuracy"] is not None for cell in cells)}
    return {
        "auroc": _mean([row["auroc"] for row in rows]),
        "average_precision": _mean([row["average_precision"] for row in rows]),
        "by_threshold_source": points,
        "n_defined": len(rows) - n_undefined,
        "n_undefined": n_undefined,
    }


def _mean(values: list[float | None]) -> float | None:
    return mean_or_none([value for value in values if value is not None])
