"""Zero-shot grounding protocols of SPEC 7 on scored splits: maps and annotations in, JSON-able reports out."""

from collections.abc import Mapping, Sequence

import numpy as np

from medslip_jax.metrics.grounding import grounding_report
from medslip_jax.metrics.intervals import mean_intervals
from medslip_jax.metrics.regions import box_masks, pad_boxes, upsample_strided
from medslip_jax.vocabulary import pathology_index

# Side of the grid on which maps and truth are compared; the resolution of the paper's input.
GROUNDING_SIZE = 224
PROTOCOL_THRESHOLDS = {"per-image": (None,), "released": (0.0, 0.01), "fixed-0.008-raw": (None,)}


def ground(
    test: Mapping,
    *,
    validation: Mapping | None,
    classes: Sequence[str],
    focal: Sequence[str] = (),
    resamples: int,
    seed: int = 0,
) -> dict:
    """Pointing game, IoU and Dice of the maps of `classes` on the images that have such a finding marked.

    Args:
      test: the identified split; its "pathology_map" is for these classes, in this order.
      validation: for the "best-dice-validation" threshold, or None.
      classes: names of pathologies.
      focal: those among them whose pointing game is also averaged as "focal".
      resamples: of the patient-level bootstrap of the pooled numbers.
      seed: of the bootstrap.

    Returns:
      {"size", "truth", "classes": {name: {"n_images", "protocols", "stride_aligned", "anatomy_weighted"}}, "pooled":
      {...}} where "protocols" is a list of `grounding_report`s without their per-image part, "stride_aligned" the
      "per-image" one on maps from `regions.upsample_strided`, and "anatomy_weighted" that on maps times the mean
      anatomy map.
    """
    sections, pooled = {}, []
    for column, name in enumerate(classes):
        cases = grounding_cases(test, name)
        if not len(cases["index"]):
            continue
        maps = attention_grids(test["pathology_map"][cases["index"], column])
        protocols = _protocols(maps, cases["targets"], _validation_threshold(validation, name, column))
        sections[name] = {
            "n_images": len(maps),
            "protocols": [{k: v for k, v in report.items() if k != "per_image"} for report in protocols],
        }
        centred = upsample_strided(maps, size=cases["targets"].shape[1:])
        aligned = grounding_report(centred, targets=cases["targets"])
        # On a map of full size, cells are pixels: the cell columns would only repeat the pixel ones.
        sections[name]["stride_aligned"] = {k: v for k, v in aligned.items() if k != "per_image" and "cell" not in k}
        weighted = None
        if "anatomy_map" in test:
            weight = attention_grids(test["anatomy_map"][cases["index"]])
            weighted = grounding_report(maps * weight, targets=cases["targets"])
            sections[name]["anatomy_weighted"] = {k: v for k, v in weighted.items() if k != "per_image"}
        pooled.append((name, cases["index"], protocols[0], aligned, weighted))
    return {
        "size": GROUNDING_SIZE,
        "truth": "boxes",
        "classes": sections,
        "pooled": _pooled(pooled, test, focal=focal, resamples=resamples, seed=seed),
    }


def grounding_cases(split: Mapping, name: str) -> dict[str, np.ndarray]:
    """{"index": rows of the split with the finding marked, "targets": bool (n, 224, 224), the union of its boxes}."""
    wanted = pathology_index(name)
    boxes = [
        np.array([a["box"] for a in annotations if a["pathology"] == wanted]).reshape(-1, 4)
        for annotations in split["annotations"]
    ]
    index = np.flatnonzero([len(b) > 0 for b in boxes])
    targets = box_masks(pad_boxes([boxes[i] for i in index]), size=(GROUNDING_SIZE, GROUNDING_SIZE))
    return {"index": index, "targets": targets}


def attention_grids(maps: np.ndarray) -> np.ndarray:
    """(n, patches) -> (n, side, side); the grid of a square image is square."""
    side = round(maps.shape[-1] ** 0.5)
    return maps.reshape(*maps.shape[:-1], side, side)


def _protocols(maps: np.ndarray, targets: np.ndarray, validation_threshold: float | None) -> list[dict]:
    reports = [
        grounding_report(maps, targets=targets, protocol=protocol, threshold=threshold)
        for protocol, thresholds in PROTOCOL_THRESHOLDS.items()
        for threshold in thresholds
    ]
    reports.append(grounding_report(maps, targets=targets, protocol="best-dice-test-oracle"))
    if validation_threshold is not None:
        reports.append(
            grounding_report(maps, targets=targets, protocol="best-dice-validation", threshold=validation_threshold)
        )
    return reports


def _validation_threshold(validation: Mapping | None, name: str, column: int) -> float | None:
    if validation is None:
        return None
    cases = grounding_cases(validation, name)
    if not len(cases["index"]):
        return None
    maps = attention_grids(validation["pathology_map"][cases["index"], column])
    return grounding_report(maps, targets=cases["targets"], protocol="best-dice-test-oracle")["threshold"]


def _pooled(cases: list, test: Mapping, *, focal: Sequence[str], resamples: int, seed: int) -> dict:
    """Means over all (image, class) cases, with intervals over patients; "focal" restricts the classes."""
    sections = {}
    for group, names in (("all", [c[0] for c in cases]), ("focal", focal)):
        chosen = [c for c in cases if c[0] in names]
        if not chosen:
            continue
        values = {
            key: np.concatenate([np.asarray(c[2]["per_image"][key], np.float64) for c in chosen])
            for key in ("pointing_pixel", "pointing_cell", "iou", "dice")
        }
        for variant, column in (("stride_aligned", 3), ("anatomy_weighted", 4)):
            if all(c[column] is not None for c in chosen):
                values[f"pointing_pixel_{variant}"] = np.concatenate(
                    [np.asarray(c[column]["per_image"]["pointing_pixel"], np.float64) for c in chosen]
                )
        patients = test["patient_id"][np.concatenate([c[1] for c in chosen])]
        intervals = mean_intervals(values, patients=patients, resamples=resamples, seed=seed)
        sections[group] = {
            "classes": [c[0] for c in chosen],
            "n_cases": len(patients),
            "means": {key: float(v.mean()) for key, v in values.items()},
            "chance": {
                key: float(np.average([c[2][key] for c in chosen], weights=[len(c[1]) for c in chosen]))
                for key in ("chance_pixel", "chance_cell")
            },
            "intervals": intervals["means"],
        }
    return sections
