"""Zero-shot classification of SPEC 7 on scored splits: arrays and records in, JSON-able reports out.

A scored split is what `scoring.score` gives, with the source's identifiers and annotations added by `identify`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.metrics.classification import best_thresholds, classification_report
from medslip_jax.metrics.intervals import auroc_intervals
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES


def identify(scores: Mapping[str, np.ndarray], source: Sequence[Mapping]) -> dict:
    """Adds "image_id", "patient_id" (arrays of text) and "annotations" (a list an image) from the records."""
    records = [source[int(i)] for i in scores["index"]]
    return {
        **scores,
        "image_id": np.array([record["image_id"] for record in records]),
        "patient_id": np.array([record["patient_id"] for record in records]),
        "annotations": [record["annotations"] for record in records],
    }


def classify(test: Mapping, *, validation: Mapping | None, resamples: int, seed: int = 0) -> dict:
    """Presence of each labelled pathology, and of each mentioned anatomy.

    Args:
      test: the identified split that is judged.
      validation: the identified split that thresholds are taken from, or None.
      resamples: of the patient-level bootstrap.
      seed: of the bootstrap.

    Returns:
      {"pathology": {"report", "intervals"}, "anatomy": ...}; "anatomy" only if the model has that stream. Classes
      without any label are left out; those with one label value are listed under "undefined".
    """
    sections = {}
    for stream, names in (("pathology", PATHOLOGIES), ("anatomy", ANATOMIES)):
        if stream not in test:
            continue
        labels = _labels(test, stream)
        columns = np.flatnonzero((labels >= 0).any(axis=0))
        if not len(columns):
            continue
        chosen = {"labels": labels[:, columns], "names": [names[i] for i in columns]}
        thresholds = None
        if validation is not None:
            thresholds = {
                "validation": best_thresholds(
                    validation[stream][:, columns],
                    labels=_labels(validation, stream)[:, columns],
                    names=chosen["names"],
                )
            }
        sections[stream] = {
            "report": classification_report(test[stream][:, columns], thresholds=thresholds, **chosen),
            "intervals": auroc_intervals(
                test[stream][:, columns],
                patients=test["patient_id"],
                resamples=resamples,
                seed=seed,
                **chosen,
            ),
        }
    if "pathology" not in sections:
        raise InputError("no image of this split has a label for any pathology; build the data with labels")
    return sections


def _labels(split: Mapping, stream: str) -> np.ndarray:
    """Pathologies by the evaluation truth; anatomies, which have none, by what the report mentions (SPEC 4)."""
    return split["labels"] if stream == "pathology" else split["matrix"].max(axis=2)
