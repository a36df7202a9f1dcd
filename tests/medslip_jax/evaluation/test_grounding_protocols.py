"""Grounding on splits made by hand: which cases count, boxes beside masks, weighting by anatomy maps, anatomies."""

import json

import numpy as np
import pytest

from data_pipelines.images import encode_grey
from medslip_jax.errors import InputError
from medslip_jax.evaluation.grounding import VARIANTS, ground
from medslip_jax.evaluation.grounding_cases import annotated, grounding_cases
from medslip_jax.report.tables.grounding import grounding_summary, grounding_tables
from medslip_jax.vocabulary import anatomy_index, pathology_index

NODULE, MASS, LUNG = pathology_index("nodule"), pathology_index("mass"), anatomy_index("left_lower_lung")
TOP_LEFT, BOTTOM_RIGHT = (0.0, 0.0, 0.25, 0.25), (0.75, 0.75, 1.0, 1.0)


def mark(pathology=NODULE, *, anatomy=-1, box=TOP_LEFT, mask=None):
    png = b"" if mask is None else encode_grey(np.array(mask, np.uint8) * 255, kind="mask")
    return {"pathology": pathology, "anatomy": anatomy, "box": np.array(box, np.float32), "mask": png}


def one_cell(*cells, size=16):
    """Maps (n, 16) of a 4 x 4 grid, each with its weight in one cell."""
    return np.eye(size, dtype=np.float32)[list(cells)]


def make_split(annotations, *, maps, **more):
    n = len(annotations)
    names = {"image_id": np.array([f"i{k}" for k in range(n)]), "patient_id": np.array([f"p{k}" for k in range(n)])}
    return {"annotations": annotations, "pathology_map": maps[:, None], **names, **more}


def test_cases_are_the_images_with_the_mark():
    square = np.zeros((8, 8), int)
    square[:2, :2] = 1
    split = {
        "annotations": [
            [mark(mask=square)],
            [mark(MASS)],
            [mark(-1, anatomy=LUNG, mask=square), mark(NODULE, anatomy=LUNG)],
            [],
        ]
    }
    boxes = grounding_cases(split, "nodule")
    assert boxes.index.tolist() == [0, 2] and [len(b) for b in boxes.boxes] == [1, 1]
    assert boxes.targets[0].sum() == 56 * 56 and boxes.targets.shape == (2, 224, 224)
    masks = grounding_cases(split, "nodule", truth="masks")
    assert masks.index.tolist() == [0] and masks.targets[0, :50, :50].all()
    assert abs(masks.targets.sum() - 56 * 56) < 60
    lung = grounding_cases(split, "left_lower_lung", truth="masks", stream="anatomy")
    assert lung.index.tolist() == [2]  # the nodule at that place in the same image is no outline of the lung
    assert annotated(split_records(split)) == {"pathologies": ["nodule", "mass"], "anatomies": ["left_lower_lung"]}


def split_records(split):
    return [{"annotations": annotations} for annotations in split["annotations"]]


def test_two_masks_of_an_image_are_one_truth():
    left, right = np.zeros((2, 4, 4), int)
    left[0, 0] = right[3, 3] = 1
    split = {"annotations": [[mark(mask=left), mark(mask=right, box=BOTTOM_RIGHT)]]}
    target = grounding_cases(split, "nodule", truth="masks").targets[0]
    assert target[0, 0] and target[223, 223] and not target[100, 100]
    bad = {"annotations": [[mark(mask=left), mark(mask=np.ones((2, 2)))]], "image_id": np.array(["a7"])}
    with pytest.raises(InputError, match="image a7: its masks have different sizes"):
        grounding_cases(bad, "nodule", truth="masks")


def test_boxes_and_masks_side_by_side():
    corner = np.zeros((8, 8), int)
    corner[7, 7] = 1
    # The box says top left, the mask bottom right: each truth sees its own.
    split = make_split([[mark(mask=corner)], [mark()]], maps=one_cell(0, 0))
    found = ground(split, validation=None, classes=["nodule", "mass"], resamples=20)
    assert found["truth"] == "boxes" and found["masks"]["truth"] == "masks" and "anatomy" not in found
    boxes, masks = (section["classes"]["nodule"] for section in (found, found["masks"]))
    assert (boxes["n_images"], masks["n_images"]) == (2, 1)
    assert boxes["protocols"][0]["pointing_cell"] == 1 and masks["protocols"][0]["pointing_cell"] == 0
    assert set(found["classes"]) == {"nodule"} and found["pooled"]["all"]["n_cases"] == 2
    assert found["masks"]["pooled"]["all"]["n_cases"] == 1
    plain = ground(make_split([[mark()]], maps=one_cell(0)), validation=None, classes=["nodule"], resamples=5)
    assert "masks" not in plain


def test_anatomy_maps_weigh_every_protocol():
    maps = np.tile(np.float32([0.6] + [0] * 14 + [0.4]), (2, 1))  # top left, and a little less bottom right
    weight = np.tile(np.float32([0.1] + [0] * 14 + [0.9]), (2, 1))
    split = make_split([[mark(box=BOTTOM_RIGHT)]] * 2, maps=maps, anatomy_map=weight)
    found = ground(split, validation=split, classes=["nodule"], resamples=20)
    row = found["classes"]["nodule"]
    names = [(report["protocol"], report["threshold_source"]) for report in row["protocols"]]
    assert names == [
        ("per-image", "fixed"),
        ("released", "fixed"),
        ("released", "fixed"),
        ("fixed-0.008-raw", "fixed"),
        ("best-dice-test-oracle", "test-oracle"),
        ("best-dice-validation", "validation"),
    ]
    for key, (weighting, upsampling) in VARIANTS.items():
        assert [r["protocol"] for r in row[key]] == [name for name, _ in names]
        assert {(r["maps"], r["upsampling"]) for r in row[key]} == {(weighting, upsampling)}
        assert {r["pointing_pixel"] for r in row[key]} == {float(weighting != "alone")}
    assert row["anatomy_weighted"][0]["pointing_cell"] == 1 and "pointing_cell" not in row["stride_aligned"][0]
    means = found["pooled"]["all"]["means"]
    assert means["pointing_cell"] == 0 and means["pointing_cell_anatomy_weighted"] == 1
    assert "pointing_cell_stride_aligned" not in means and set(found["pooled"]["all"]["intervals"]) == set(means)
    json.dumps(found, allow_nan=False)


def test_a_model_without_anatomies_has_no_weighted_maps():
    found = ground(make_split([[mark()]], maps=one_cell(0)), validation=None, classes=["nodule"], resamples=5)
    lists = [key for key, value in found["classes"]["nodule"].items() if isinstance(value, list)]
    assert lists == ["protocols", "stride_aligned", "detection"]
    assert [r["protocol"] for r in found["classes"]["nodule"]["protocols"]][-1] == "best-dice-test-oracle"


def test_anatomies_against_their_masks():
    lower = np.zeros((8, 8), int)
    lower[6:, 6:] = 1
    annotations = [[mark(-1, anatomy=LUNG, box=BOTTOM_RIGHT, mask=lower)]] * 3
    maps = one_cell(15, 15, 0)
    split = make_split(annotations, maps=maps[:, :0], anatomy_maps=maps[:, None])
    found = ground(split, validation=None, classes=[], anatomies=["left_lower_lung"], resamples=20)
    assert found["classes"] == found["pooled"] == {} and "masks" not in found
    section = found["anatomy"]
    assert section["truth"] == "masks"
    report = section["classes"]["left_lower_lung"]["protocols"][0]
    assert report["pointing_cell"] == pytest.approx(2 / 3) and report["chance_cell"] == 1 / 16
    assert "anatomy_weighted" not in section["classes"]["left_lower_lung"]
    pooled = section["pooled"]["all"]
    assert pooled["means"]["pointing_cell"] == pytest.approx(2 / 3) and pooled["chance"]["chance_cell"] == 1 / 16


def test_detection_rows_by_hand():
    # A cell of the 4 x 4 grid, upsampled: above half its maximum is about the cell itself.
    both = one_cell(0) + 0.9 * one_cell(15)
    split = make_split([[mark(), mark(box=BOTTOM_RIGHT)], [mark()]], maps=np.concatenate([both, one_cell(15)]))
    found = ground(split, validation=None, classes=["nodule"], resamples=20)
    row = next(r for r in found["pooled"]["all"]["detection"] if r["variant"] == "protocols" and r["iou_above"] == 0.5)
    assert (row["n_predicted"], row["n_true"], row["true_positives"]) == (3, 3, 2)
    assert row["precision"] == row["recall"] == row["f1"] == pytest.approx(2 / 3)
    assert row["localisation_accuracy"] == 0.5 and row["low"] <= 0.5 <= row["high"]
    by_class = found["classes"]["nodule"]["detection"]
    assert [(r["maps"], r["upsampling"], r["iou_above"]) for r in by_class[:2]] == [
        ("alone", "cells", 0.1),
        ("alone", "cells", 0.2),
    ]
    assert len(by_class) == 14


def test_tables():
    lower = np.zeros((8, 8), int)
    lower[6:, 6:] = 1
    annotations = [[mark(mask=lower, box=BOTTOM_RIGHT), mark(-1, anatomy=LUNG, box=BOTTOM_RIGHT, mask=lower)]] * 2
    maps = one_cell(15, 0)
    split = make_split(annotations, maps=maps, anatomy_map=maps, anatomy_maps=maps[:, None])
    found = ground(split, validation=split, classes=["nodule"], anatomies=["left_lower_lung"], resamples=20)
    blocks = grounding_summary(found)
    assert [block.splitlines()[0] for block in blocks] == [
        "findings, boxes, 2 cases, map above half of its own maximum against the truth",
        "pointing game, findings, masks, 2 cases",
        "findings, masks, 2 cases, map above half of its own maximum against the truth",
        "pointing game, anatomies, masks, 2 cases",
        "anatomies, masks, 2 cases, map above half of its own maximum against the truth",
    ]
    assert blocks[0].splitlines()[2].split() == ["alone", "0.1", *["0.500"] * 4, "2", "2"]
    cell = blocks[1].splitlines()[1]
    assert cell.startswith("  arg-max cell ")
    assert " 0.500 [" in cell and cell.endswith("(chance 0.062)")
    text = grounding_tables(found)
    assert text.count("best-dice-validation") == 4 + 4 + 2
    assert "nodule: 2 images" in text and "left_lower_lung: 2 images" in text and "anatomies, masks\n====" in text
    assert text.count("\nmaps ") == 3 * 2 + 3 and max(map(len, text.splitlines())) < 120


def test_nan_maps_are_refused():
    split = make_split([[mark()]], maps=one_cell(0) * np.nan)
    with pytest.raises(InputError, match="map of image 0 holds NaN"):
        ground(split, validation=None, classes=["nodule"], resamples=5)
