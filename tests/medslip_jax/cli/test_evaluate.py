"""The whole command on a run of seconds: files, contents, and that a second run gives the same numbers."""

import json

import cv2
import numpy as np
import pytest
from places import ROOT

from data_pipelines.datasets import open_split
from data_pipelines.loading import loader
from data_pipelines.loading.worker_processes import NoSharedMemory
from data_pipelines.phantom import PATHOLOGIES_DRAWN
from data_pipelines.phantom.regions import REGIONS
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.evaluation import grounding, judging, zero_shot
from medslip_jax.experiment.sections import replaced
from medslip_jax.pretraining import pretrain
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index


@pytest.fixture(scope="module")
def run(phantom_data, tmp_path_factory):
    from medslip_jax import experiment

    workdir = tmp_path_factory.mktemp("run")
    root = ROOT
    config = experiment.load_config([f"--config={root / 'configs' / 'phantom.py'}:tiny"])
    config.data.dir, config.data.image_size, config.eval_every = str(phantom_data), 64, 0
    config.model.trunk_width, config.model.embed_dim, config.model.decoder_ffn_dim = 8, 16, 32
    pretrain(config, workdir=workdir, stop_after=2)
    return workdir


@pytest.fixture(scope="module")
def results(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    assert main.main(["evaluate", f"--checkpoint={run}", f"--out={out}", "--resamples=50"]) == 0
    return out


def test_metrics_file(results):
    metrics = json.loads((results / "metrics.json").read_text())
    section = metrics["classification"]["pathology"]
    report = section["report"]
    assert report["n_images"] == 16
    assert set(report["classes"]) == set(PATHOLOGIES_DRAWN)
    assert report["macro"]["n_defined"] + report["macro"]["n_undefined"] == len(PATHOLOGIES_DRAWN)
    for name, row in report["classes"].items():
        one_value = 0 in (row["n_positive"], row["n_negative"])
        assert (row["auroc"] is None) == one_value == (name in report["undefined"])
        assert set(row["by_threshold_source"]) == {"test-oracle", "validation", "fixed"}
    assert section["intervals"]["n_patients"] == 16
    assert metrics["threshold_split"] == "validation"
    assert len(metrics["checkpoint"]["sha256"]) == len(metrics["data"]["ids_sha256"]) == 64
    assert "anatomy" in metrics["classification"]


def test_grounding_section(results):
    grounding = json.loads((results / "metrics.json").read_text())["grounding"]
    assert set(grounding["classes"]) <= set(PATHOLOGIES_DRAWN)
    for row in grounding["classes"].values():
        names = [p["protocol"] for p in row["protocols"]]
        assert names[:5] == ["per-image", "released", "released", "fixed-0.008-raw", "best-dice-test-oracle"]
        assert all(p["n_images"] == row["n_images"] for p in row["protocols"])
    assert set(grounding["masks"]["classes"]) == set(grounding["classes"])
    assert set(grounding["anatomy"]["classes"]) == set(REGIONS) and grounding["anatomy"]["truth"] == "masks"
    assert "anatomies, masks" in (results / "grounding.txt").read_text()
    pooled = grounding["pooled"]
    assert pooled["focal"]["n_cases"] < pooled["all"]["n_cases"]
    assert 0 <= pooled["all"]["means"]["pointing_pixel"] <= 1


def test_predictions_agree_with_the_data(results, phantom_data):
    source = open_split(phantom_data, "phantom", "test")
    with np.load(results / "predictions.npz") as file:
        saved = dict(file)
    assert saved["image_id"].tolist() == [source[i]["image_id"] for i in range(16)]
    assert np.array_equal(saved["labels"], [source[i]["labels"] for i in range(16)])
    assert saved["pathology"].shape == (16, 75)
    assert saved["pathology_names"].tolist() == list(PATHOLOGIES)
    np.testing.assert_allclose(saved["pathology_map"].sum(-1), 1, rtol=1e-4)


def test_picture_is_there(results):
    picture = cv2.imread(str(results / "heatmaps.png"))
    assert picture.shape[0] > 300
    assert picture.std() > 20


def test_same_numbers_again(run, results, tmp_path):
    assert main.main(["evaluate", f"--checkpoint={run}", f"--out={tmp_path}", "--resamples=50", "--pictures=0"]) == 0
    again, first = (json.loads((d / "metrics.json").read_text()) for d in (tmp_path, results))
    assert (again["protocol"].pop("pictures"), first["protocol"].pop("pictures")) == (0, 12)
    assert again["sha256"].pop("metrics") != first["sha256"].pop("metrics")  # the former two are in it
    assert again == first
    assert not (tmp_path / "heatmaps.png").exists()


def test_threads_read_where_the_workers_of_the_training_have_no_room(run, results, tmp_path, monkeypatch, capsys):
    def refuse(size: int) -> None:
        raise NoSharedMemory(f"/dev/shm: 0 MB are free and the workers need {size}; use threads")

    def trained_with_workers(info):
        return replaced(settings(info), data={"workers": 2})

    settings = judging._settings
    monkeypatch.setattr(judging, "_settings", trained_with_workers)
    monkeypatch.setattr(loader, "require_shared_memory", refuse)
    assert main.main(["evaluate", f"--checkpoint={run}", f"--out={tmp_path}", "--resamples=50"]) == 0
    again, first = (json.loads((d / "metrics.json").read_text()) for d in (tmp_path, results))
    assert again == first
    assert "note: read with 2 threads and no worker processes (/dev/shm: 0 MB are free" in capsys.readouterr().out


def test_unknown_split(run, tmp_path, capsys):
    assert main.main(["evaluate", f"--checkpoint={run}", f"--out={tmp_path}", "--split=tset"]) == 2
    assert "no split 'tset'" in capsys.readouterr().err


def test_thresholds_never_come_from_the_judged_split(run, tmp_path, capsys):
    assert main.main(["evaluate", f"--checkpoint={run}", f"--out={tmp_path}", "--split=validation"]) == 2
    assert "--threshold_split validation is the judged split" in capsys.readouterr().err


def _split(labels, maps, annotations):
    n = len(labels)
    return {
        "labels": np.array(labels, np.int8),
        "matrix": np.full((n, 51, 75), -1, np.int8),
        "pathology": np.full((n, 75), 0.5, np.float32),
        "pathology_map": np.array(maps, np.float32),
        "annotations": annotations,
        "image_id": np.array([f"i{k}" for k in range(n)]),
        "patient_id": np.array([f"p{k}" for k in range(n)]),
    }


def test_ground_takes_the_marked_images_of_a_class_only():
    nodule = pathology_index("nodule")
    corner = {"pathology": nodule, "anatomy": -1, "box": (0.0, 0.0, 0.25, 0.25), "mask": b""}
    other = corner | {"pathology": pathology_index("mass")}
    maps = np.zeros((3, 1, 16))
    maps[0, 0, 0] = 1  # the top left of a 4 x 4 grid: a hit
    maps[1, 0, 15] = 1  # the bottom right: a miss
    labels = np.zeros((3, 75))
    split = _split(labels, maps, [[corner], [corner], [other]])
    report = grounding.ground(split, validation=None, classes=["nodule"], resamples=20)
    assert report["classes"]["nodule"]["n_images"] == 2
    assert report["pooled"]["all"]["means"]["pointing_pixel"] == 0.5
    assert "focal" not in report["pooled"]


def test_classify_without_any_label_is_refused():
    split = _split(np.full((2, 75), -1), np.zeros((2, 1, 16)), [[], []])
    with pytest.raises(InputError, match="no image of this split has a label"):
        zero_shot.classify(split, validation=None)
