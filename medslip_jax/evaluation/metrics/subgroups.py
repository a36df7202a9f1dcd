"""AUROC within groups of patients, such as by sex, age band or view, with intervals by group."""

import math
from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.classification import check_scores, classification_report
from medslip_jax.evaluation.metrics.intervals import (
    Draw,
    auroc_table,
    bootstrap,
    ends,
    percentile_interval,
    row_means,
    varied_classes,
)

AGE_BANDS = {"0-17": (0, 18), "18-39": (18, 40), "40-59": (40, 60), "60-79": (60, 80), "80+": (80, math.inf)}
# With fewer patients a group gets no numbers: they would say who these patients are, not how the model does.
MIN_PATIENTS = 10


def subgroup_report(
    scores: np.ndarray,
    *,
    labels: np.ndarray,
    names: Sequence[str],
    groups: Mapping[str, Sequence[str | None]],
    min_patients: int = MIN_PATIENTS,
    **draw: Unpack[Draw],
) -> dict:
    """The AUROC of each group of each attribute, its patients resampled within the group.

    Macro means of the groups of one attribute are over the same classes: those that are defined in all of its groups
    that are large enough. Otherwise one group's rare and hard class would lower its mean alone. Intervals of two groups
    overlap or not; they are no test of a difference.

    Args:
      scores, labels, names: as for `classification_report` (N x C, -1 = unknown).
      groups: {attribute: N values, None where unknown}.
      min_patients: a smaller group has null for every number and a reason.
      draw: patients, resamples and seed, see `Draw`.

    Returns:
      {attribute: {value: {"n_images", "n_patients", "macro": {"auroc", "low", "high", "n_defined"[, "reason"]},
       "macro_classes": [names], "classes": {name: {"auroc", "low", "high", "n_positive", "n_negative"[, "reason"]}}}}},
      values in order; images without the attribute are the value "unknown", which has counts but no numbers.

    Raises:
      InputError: as `classification_report`; an attribute with another number of values.
    """
    scores, labels = check_scores(scores, labels=labels, names=names)
    patients = np.asarray(draw["patients"])
    result: dict[str, dict] = {}
    for attribute, values in groups.items():
        if len(values) != len(scores):
            raise InputError(f"subgroup {attribute!r}: {len(values)} values for {len(scores)} images")
        members = _members(values)
        small = {v: _why_small(v, patients[rows], min_patients=min_patients) for v, rows in members.items()}
        used = [rows for value, rows in members.items() if not small[value]]
        common = [i for i in range(len(names)) if used and all(_both(labels[rows, i]) for rows in used)]
        result[attribute] = {}
        for value, rows in members.items():
            inside: Draw = {**draw, "patients": patients[rows]}
            group = _group(scores[rows], labels[rows], names, common=common, reason=small[value], draw=inside)
            result[attribute][value] = group
    return result


def age_band(age: object) -> str | None:
    """The band of an age in years, None if it is none.

    >>> age_band(17.9), age_band(80), age_band(None)
    ('0-17', '80+', None)
    """
    if isinstance(age, bool) or not isinstance(age, int | float):
        return None
    return next((band for band, (low, high) in AGE_BANDS.items() if low <= age < high), None)


def _members(values: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Value -> its rows; bands of age by age, others by name, "unknown" last."""
    named = np.array(["unknown" if value is None else str(value) for value in values], object)
    order = [*AGE_BANDS, *sorted(set(named) - set(AGE_BANDS) - {"unknown"}), "unknown"]
    return {value: np.flatnonzero(named == value) for value in order if (named == value).any()}


def _why_small(value: str, patients: np.ndarray, *, min_patients: int) -> str:
    n = len(np.unique(patients))
    if value == "unknown":
        return "the attribute is not known"
    return f"only {n} patients, fewer than {min_patients}" if n < min_patients else ""


def _both(label: np.ndarray) -> bool:
    return bool((label == 1).any() and (label == 0).any())


def _group(
    scores: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    common: Sequence[int],
    reason: str,
    draw: Draw,
) -> dict:
    counts = {"n_images": len(scores), "n_patients": len(np.unique(draw["patients"]))}
    numbers = [{"n_positive": int((column == 1).sum()), "n_negative": int((column == 0).sum())} for column in labels.T]
    empty = dict.fromkeys(("auroc", "low", "high"))
    if reason:
        classes = {name: empty | row | {"reason": reason} for name, row in zip(names, numbers, strict=True)}
        return counts | {"macro": empty | {"n_defined": 0, "reason": reason}, "macro_classes": [], "classes": classes}
    report = classification_report(scores, labels=labels, names=names)
    replicates = bootstrap(lambda weights: auroc_table(scores, labels, weights), n_images=len(scores), **draw)
    _, enough = varied_classes(labels, draw["patients"])
    classes = {
        name: {"auroc": report["classes"][name]["auroc"]}
        | ends(percentile_interval(replicates[:, i], usable=bool(enough[i])))
        | numbers[i]
        | ({"reason": report["undefined"][name]} if name in report["undefined"] else {})
        for i, name in enumerate(names)
    }
    chosen = [names[i] for i in common]
    macro = empty | {"reason": "no class has positives and negatives in every group"}
    if chosen:
        macro = {"auroc": float(np.mean([classes[name]["auroc"] for name in chosen]))}
        macro |= ends(percentile_interval(row_means(replicates[:, common]), usable=bool(enough[common].any())))
    return counts | {"macro": macro | {"n_defined": len(chosen)}, "macro_classes": chosen, "classes": classes}
