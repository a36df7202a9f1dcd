"""Zero-shot classification of SPEC 7 on scored splits: arrays and records in, JSON-able reports out.

A scored split is what `scoring.score` gives, with the source's identifiers and annotations added by `identify`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.records import Source
from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.calibration import calibration_report
from medslip_jax.evaluation.metrics.classification import best_thresholds, classification_report
from medslip_jax.evaluation.metrics.classification_intervals import classification_intervals
from medslip_jax.evaluation.metrics.subgroups import age_band, subgroup_report
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES, pathology_index


@dataclasses.dataclass(frozen=True)
class Judging:
    """Which scores are judged, and how.

    Attributes:
      classes: names of the pathologies; None for all that have labels.
      fixed: {class: threshold}, under "" that of all other classes; None for no fixed thresholds.
      subgroups: attributes of the records, or "age_band", which `metrics.subgroups` tabulates.
      bins: of the calibration.
      resamples, seed: of the patient-level bootstrap.
    """

    classes: Sequence[str] | None = None
    fixed: Mapping[str, float] | None = None
    subgroups: Sequence[str] = ()
    bins: int = 10
    resamples: int = 1000
    seed: int = 0


def identify(scores: Mapping[str, np.ndarray], source: Source, *, targets: Sequence[str] = ()) -> dict:
    """Adds what the records know to the scores of their images.

    Args:
      scores: of `scoring.score`.
      source: the records of the split.
      targets: names of the queries given as text, whose probabilities are `scores["extra"]`.

    Returns:
      `scores` with "image_id", "patient_id" (arrays of text), "annotations" (a list an image) and "attributes" (a dict
      an image); with targets also "target_names" and "targets" int8 (n, k), their truth: the records' target of that
      name, or the label of the pathology of that name.

    Raises:
      InputError: a name that is neither; it says which targets there are.
    """
    known: dict[str, list] = {key: [] for key in ("image_id", "patient_id", "annotations", "attributes", "targets")}
    for i in scores["index"]:
        record = source[int(i)]
        for key in ("image_id", "patient_id", "annotations"):
            known[key].append(record[key])
        known["attributes"].append(record.get("attributes", {}))
        known["targets"].append([_truth(record, name) for name in targets])
    ids = {key: np.array(known[key]) for key in ("image_id", "patient_id")}
    truth = np.array(known.pop("targets"), np.int8).reshape(len(ids["image_id"]), len(targets))
    return {**scores, **known, **ids} | ({"targets": truth, "target_names": np.array(targets)} if targets else {})


def _truth(record: Mapping, name: str) -> int:
    targets = record.get("targets", {})
    if name in targets:
        return targets[name]
    if name in PATHOLOGIES:
        return int(record["labels"][pathology_index(name)])
    has = ", ".join(targets) or "none"
    raise InputError(
        f"class_map: {name!r} is no target of this data set (it has: {has}) and no class, so its text has no truth"
    )


def classify(test: Mapping, *, validation: Mapping | None, judging: Judging = Judging()) -> dict:
    """Presence of each labelled pathology, of each query given as text, and of each mentioned anatomy.

    Args:
      test, validation: the identified splits that are judged, and that thresholds are taken from (or None).
      judging: how.

    Returns:
      {"pathology": {"report", "intervals", "calibration"[, "subgroups"]}, "targets": ..., "anatomy": ...}; each only
      if there is something to judge, one of the first two at least. Classes without any label are left out; those
      with one label value are listed under "undefined".

    Raises:
      InputError: nothing has a label; a score that is not finite; an attribute that no record has.
    """
    sections = {}
    for name in ("pathology", "targets", "anatomy"):
        part = _part(test, name, judging=judging)
        if part is not None:
            other = None if validation is None else _part(validation, name, judging=judging, columns=part["columns"])
            sections[name] = judge_section(test, part, other, judging=judging, anatomy=name == "anatomy")
    if not {"pathology", "targets"} & set(sections):
        raise InputError(
            "no image of this split has a label for any pathology that is asked for; build the data with labels, or "
            "take the protocol of the data set (configs/eval), such as covidx.py for a finding outside of the classes"
        )
    return sections


def _part(split: Mapping, section: str, *, judging: Judging, columns: Sequence[int] | None = None) -> dict | None:
    """{"scores", "labels", "names", "columns"} of a section; None where nothing has a label."""
    if section not in split:
        return None
    if section == "pathology":
        names, scores, labels = PATHOLOGIES, split[section], split["labels"]
    elif section == "anatomy":
        # Anatomies have no truth of their own but what the report mentions (SPEC 4).
        names, scores, labels = ANATOMIES, split[section], split["matrix"].max(axis=2)
    else:
        names, scores, labels = split["target_names"].tolist(), split["extra"], split["targets"]
    if columns is None:
        columns = np.flatnonzero((labels >= 0).any(axis=0)).tolist()
        if section == "pathology" and judging.classes is not None:
            columns = [i for i in columns if names[i] in judging.classes]
    if not len(columns):
        return None
    return {
        "scores": scores[:, columns],
        "labels": labels[:, columns],
        "names": [names[i] for i in columns],
        "columns": columns,
    }


def judge_section(
    test: Mapping, part: Mapping, validation: Mapping | None, *, judging: Judging, anatomy: bool = False
) -> dict:
    """{"report", "intervals", "calibration"[, "subgroups"]} of scores against labels.

    Args:
      test: "patient_id" of each image, and "attributes" if there are subgroups.
      part, validation: {"scores" (n, k), "labels" (n, k), "names" (k)} of it, and of the split that thresholds are
        taken from, or None.
      judging: thresholds, subgroups (but for `anatomy`) and intervals.
    """
    scores = part["scores"]
    chosen = {"labels": part["labels"], "names": part["names"]}
    draw = {"patients": test["patient_id"], "resamples": judging.resamples, "seed": judging.seed}
    thresholds = {}
    if validation is not None:
        others = {key: validation[key] for key in ("labels", "names")}
        thresholds["validation"] = best_thresholds(validation["scores"], **others)
    if judging.fixed is not None:
        thresholds["fixed"] = np.array([judging.fixed.get(name, judging.fixed[""]) for name in chosen["names"]])
    section = {
        "report": classification_report(scores, thresholds=thresholds, **chosen),
        "intervals": classification_intervals(scores, thresholds=thresholds, **chosen, **draw),
        "calibration": calibration_report(scores, bins=judging.bins, **chosen, **draw),
    }
    if judging.subgroups and not anatomy:
        groups = {name: _values(test, name) for name in judging.subgroups}
        section["subgroups"] = subgroup_report(scores, groups=groups, **chosen, **draw)
    return section


def _values(test: Mapping, attribute: str) -> list[str | None]:
    by_age = attribute == "age_band"
    values = [age_band(known.get("age")) if by_age else known.get(attribute) for known in test["attributes"]]
    if all(value is None for value in values):
        raise InputError(
            f"subgroups: no record of this split has {attribute!r}; build the data again with this version, or leave "
            f'it out with --config.subgroups="()"'
        )
    return values
