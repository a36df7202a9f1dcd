"""Two results on the same images against each other: paired differences over patients."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.intervals import Draw
from medslip_jax.evaluation.metrics.paired import paired_classification, paired_means
from medslip_jax.evaluation.result_files import Judged, Results, read_results, reading


def compare(a: str | Path, b: str | Path, *, resamples: int = 1000, seed: int = 0, common: bool = False) -> dict:
    """Paired differences b - a of two results of `medslip evaluate` or of a fine-tuned classifier.

    Args:
      a, b: directories of results, or their metrics.json.
      resamples, seed: of the patient-level bootstrap.
      common: compare on the images that both have, in place of refusing results on different ones.

    Returns:
      {"a", "b": {"path", "checkpoint", "images"}, "images", "patients", "left_out", "method", "resamples", "seed",
       "macro": {"auroc": row, "average_precision": row, "n_defined"}, "classes": {name: {"auroc": row, ...}},
       "pointing": {"cell": row, "cases", "classes"} or None} with the rows of `metrics.paired.paired_classification`;
      "left_out" lists classes that only one of the two judges.

    Raises:
      InputError: no such results, or such that cannot be paired: other images, patients or labels.
    """
    results = {"a": read_results(a), "b": read_results(b)}
    with reading(*results.values()):
        return _compared(results, resamples=resamples, seed=seed, common=common)


def _compared(results: Mapping[str, Results], *, resamples: int, seed: int, common: bool) -> dict:
    rows = _aligned(results, common=common)
    judged = {key: judged_classes(result) for key, result in results.items()}
    names = [name for name in judged["a"].names if name in judged["b"].names]
    if not names:
        paths = " and ".join(result.path for result in results.values())
        raise InputError(f"{paths} judge no class in common; evaluate both with the same protocol")
    both = {key: found.chosen(names, rows=rows[key]) for key, found in judged.items()}
    _check_labels(results, rows, both)
    images = results["a"].arrays["image_id"][rows["a"]]
    patients = results["a"].arrays["patient_id"][rows["a"]]
    draw: Draw = {"patients": patients, "resamples": resamples, "seed": seed}
    paired = paired_classification(both["a"].scores, both["b"].scores, labels=both["a"].labels, names=names, **draw)
    return {
        **{k: _described(r) for k, r in results.items()},
        "images": len(images),
        "patients": len(np.unique(patients)),
        "left_out": sorted(set(judged["a"].names) ^ set(judged["b"].names)),
        "method": "paired patient-level bootstrap; percentile interval; two-sided p, at least 2 / (resamples + 1)",
        "resamples": resamples,
        "seed": seed,
        **paired,
        "pointing": _pointing(results, rows, draw=draw),
    }


def judged_classes(results: Results) -> Judged:
    """The judged pathologies, then the queries given as text, "NAME (text)" where a pathology has the name too."""
    parts = {section: results.judged(section) for section in results.sections}
    known = parts["pathology"].names if "pathology" in parts else []
    return Judged(
        [
            f"{name} (text)" if section == "targets" and name in known else name
            for section, part in parts.items()
            for name in part.names
        ],
        np.concatenate([part.scores for part in parts.values()], axis=1),
        np.concatenate([part.labels for part in parts.values()], axis=1),
    )


def _described(result: Results) -> dict:
    checkpoint = result.metrics.get("checkpoint", {})
    return {"path": result.path, "checkpoint": checkpoint, "images": len(result.arrays["image_id"])}


def _aligned(results: Mapping[str, Results], *, common: bool) -> dict[str, np.ndarray]:
    """Rows of each result's arrays, in the order of a's, that show the same images."""
    ids = {key: result.arrays["image_id"].tolist() for key, result in results.items()}
    for key, names in ids.items():
        if len(set(names)) != len(names):
            raise InputError(f"{results[key].path}: an image id comes twice, so its images cannot be paired")
    position = {name: row for row, name in enumerate(ids["b"])}
    rows = [row for row, name in enumerate(ids["a"]) if name in position]
    only = [[n for n in ids["a"] if n not in position], sorted(set(ids["b"]) - set(ids["a"]))]
    if any(only) and not common:
        lines = [
            f"{len(names)} only in {results[key].path} (such as {names[0]})"
            for key, names in zip("ab", only, strict=True)
            if names
        ]
        raise InputError(f"not the same images: {'; '.join(lines)}; --common compares on the {len(rows)} of both")
    if not rows:
        raise InputError(f"{results['a'].path} and {results['b'].path} have no image in common")
    return {"a": np.array(rows), "b": np.array([position[ids["a"][row]] for row in rows])}


def _check_labels(results: Mapping[str, Results], rows: Mapping, both: Mapping[str, Judged]) -> None:
    ids = results["a"].arrays["image_id"][rows["a"]]
    patients = [results[k].arrays["patient_id"][rows[k]] for k in "ab"]
    if (patients[0] != patients[1]).any():
        row = int(np.argmax(patients[0] != patients[1]))
        raise InputError(
            f"image {ids[row]} is of patient {patients[0][row]} in {results['a'].path} and of {patients[1][row]} in "
            f"{results['b'].path}; evaluate both on one build of the data"
        )
    labels = [part.labels for part in both.values()]
    differing = labels[0] != labels[1]
    if differing.any():
        row, column = np.argwhere(differing)[0]
        one = f"{both['a'].names[column]} of image {ids[row]}"
        values = f"{labels[0][row, column]} and {labels[1][row, column]}"
        raise InputError(
            f"{differing.sum()} labels differ, such as {one} ({values}); evaluate both on one build of the data"
        )


def _pointing(results: Mapping[str, Results], rows: Mapping, *, draw: Draw) -> dict | None:
    """The pointing game over the (image, class) cases of both results; None where one has none, or other classes."""
    cases = []
    for key, result in results.items():
        arrays = result.arrays
        if "pointing_cell" not in arrays:
            return None
        place = {int(row): i for i, row in enumerate(rows[key])}
        found = zip(arrays["pointing_row"], arrays["pointing_class"], arrays["pointing_cell"], strict=True)
        cases.append({(place[int(r)], str(n)): bool(hit) for r, n, hit in found if int(r) in place})
    if not cases[0] or cases[0].keys() != cases[1].keys():
        return None
    keys = sorted(cases[0])
    hits = [np.array([case[key] for key in keys], float) for case in cases]
    of: Draw = {**draw, "patients": np.asarray(draw["patients"])[[row for row, _ in keys]]}
    return {"cell": paired_means(*hits, **of), "cases": len(keys), "classes": sorted({name for _, name in keys})}
