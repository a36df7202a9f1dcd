"""README's commands one after the other, each a process of its own: what every Python and JAX has to do first."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from safetensors.numpy import load_file

from medslip_jax.weights.export.stablehlo import read_stablehlo

pytestmark = [pytest.mark.slow, pytest.mark.portable]

SMALL = (
    "--config.data.image_size=32",
    "--config.model.trunk_width=4",
    "--config.model.embed_dim=16",
    "--config.model.decoder_ffn_dim=32",
    "--config.model.decoder_layers=1",
    "--config.data.workers=1",
    "--config.num_steps=6",
    "--config.save_every=3",
    "--config.eval_every=0",
    "--config.log_every=1",
)


def medslip(*words: str | Path, code: int = 0) -> str:
    """What the verb prints; it has to end with this exit code and without a traceback."""
    command = [sys.executable, "-m", "medslip_jax.cli.main", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_pretrain_resume_evaluate_predict_convert_export(phantom_data, tmp_path):
    run = tmp_path / "run"
    pretrain = ("pretrain", f"--config={ROOT / 'configs' / 'phantom.py'}:tiny", "--workdir", run, *SMALL)
    data = f"--config.data.dir={phantom_data}"
    medslip(*pretrain, data, "--stop_after=3")
    assert [d.name for d in (run / "checkpoints").iterdir()] == ["3"]
    medslip(*pretrain, data)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps if "loss" in row] == [1, 2, 3, 4, 5, 6]

    results = tmp_path / "results"
    medslip("evaluate", "--checkpoint", run, "--out", results, "--resamples=20", "--pictures=2")
    macro = json.loads((results / "metrics.json").read_text())["classification"]["pathology"]["report"]["macro"]
    assert 0 <= macro["auroc"] <= 1
    with Image.open(results / "heatmaps.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 100

    film = tmp_path / "film.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)).save(film)
    medslip("predict", "--checkpoint", run, "--images", film, "--out", tmp_path / "predicted")
    with (tmp_path / "predicted" / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert 0 <= float(row["effusion"]) <= 1

    weights, again, once_more = tmp_path / "model.safetensors", tmp_path / "again", tmp_path / "more.safetensors"
    medslip("convert", "--from", run, "--to", weights)
    medslip("convert", "--from", weights, "--to", again)
    medslip("convert", "--from", again, "--to", once_more)
    before, after = load_file(weights), load_file(once_more)
    assert before.keys() == after.keys()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == []

    medslip("export", "--from", run, "--to", tmp_path / "model.zip", "--platforms=cpu")
    found = read_stablehlo(tmp_path / "model.zip")(np.zeros((2, 32, 32), np.uint8))
    assert found["pathology_probability"].shape == (2, 75)
