"""The whole path on 600 real X-rays: build, a few steps, evaluate. They lie in ../shared, outside the repository."""

import json
from pathlib import Path

import numpy as np
import pytest
from places import CONFIGS, ROOT

from data_pipelines.datasets import open_split
from data_pipelines.images import decode_grey
from medslip_jax.cli import main
from medslip_jax.vocabulary import anatomy_index, pathology_index

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def built(cxr_sample, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("real")
    options = CONFIGS / "folder_cxr_sample.json"
    command = ["data", "build", "folder", "--root", str(cxr_sample), "--options", str(options), "--out", str(out)]
    assert main.main(command) == 0
    return out


def test_every_row_arrives_and_patients_do_not_cross(built):
    splits = {name: open_split(built, "folder", name) for name in ("train", "validation", "test")}
    assert {name: len(source) for name, source in splits.items()} == {"train": 432, "validation": 63, "test": 105}
    assert json.loads((built / "folder" / "1.0.0" / "drops.json").read_text()) == []
    patients = [{source[i]["patient_id"] for i in range(len(source))} for source in splits.values()]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])


def test_records_say_what_the_csv_says(built):
    source = open_split(built, "folder", "train")
    nih = next(source[i] for i in range(len(source)) if "00000061_012" in source[i]["image_id"])
    # NIH annotates its 14 classes for every image: Effusion is stated, Mass is not and so absent.
    unspecified = anatomy_index("unspecified")
    assert nih["labels"][[pathology_index("effusion"), pathology_index("mass")]].tolist() == [1, 0]
    assert nih["matrix"][unspecified, pathology_index("effusion")] == 1
    assert nih["matrix"][unspecified, pathology_index("mass")] == 0
    assert nih["labels"][pathology_index("fracture")] == -1
    image = decode_grey(nih["image"], name="nih")
    assert min(image.shape) == 256
    boxes = np.array([a["box"] for a in nih["annotations"] if a["pathology"] == pathology_index("opacity")])
    # the CSV's boxes (86, 243.5, 150, 129) and (310, 251, 143.5, 136) in pixels of 512 x 512
    want = np.array([[86, 243.5, 236, 372.5], [310, 251, 453.5, 387]]) / 512
    np.testing.assert_allclose(boxes, want, atol=1e-6)


def test_trains_and_evaluates(built, tmp_path):
    config = f"--config={ROOT / 'configs' / 'folder.py'}:tiny"
    run, out = str(tmp_path / "run"), tmp_path / "results"
    assert main.main(["pretrain", config, f"--config.data.dir={built}", f"--workdir={run}"]) == 0
    assert main.main(["evaluate", f"--checkpoint={run}", f"--out={out}", "--resamples=20"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    report = metrics["classification"]["pathology"]["report"]
    assert report["n_images"] == 105
    assert {"pneumonia", "effusion", "infiltrate"} <= set(report["classes"])
    assert metrics["grounding"]["classes"]
