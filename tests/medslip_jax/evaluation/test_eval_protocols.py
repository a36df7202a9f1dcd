"""Every file of configs/eval on a small tree of its data set, end to end with a tiny published model."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from bert_directory import write_toy_bert
from places import ROOT
from tiny_weights import books_file, foreign, state_of

from data_pipelines.datasets.building.build import build
from medslip_jax.cli import main
from medslip_jax.evaluation import compare
from medslip_jax.testing import tiny_config
from medslip_jax.text.books import make_books, prompts_sha256
from medslip_jax.text.encoder import load_encoder
from medslip_jax.vocabulary import pathology_index, pathology_prompts
from medslip_jax.weights.bundle import describe
from medslip_jax.weights.loading import Pretrained
from medslip_jax.weights.torch.conversion import from_torch

# The small trees that the builders' own tests make.
folder_csv, covidx, nih, rsna, siim = map(
    importlib.import_module, ("folder_csv", "test_covidx", "test_nih_cxr14", "test_rsna", "test_siim_acr")
)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return write_toy_bert(tmp_path_factory.mktemp("bert") / "toy")


@pytest.fixture(scope="module")
def model(bert, tmp_path_factory) -> Path:
    """A directory of `save_pretrained`, whose text tables the toy BERT wrote."""
    config = tiny_config(text_dim=16)
    books = make_books(load_encoder(bert, max_length=48))
    info = describe(config, books=books, inherited={"preprocessing": {"image_size": 64}})
    directory = tmp_path_factory.mktemp("model") / "published"
    Pretrained(config, from_torch(state_of(config), config), books, info).save_pretrained(directory, license="cc0-1.0")
    return directory


def evaluate(model, out, *argv) -> dict:
    argv = ["evaluate", f"--checkpoint={model}", f"--out={out}", "--resamples=20", "--batch_size=8", *map(str, argv)]
    assert main.main(argv) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    with np.load(out / "predictions.npz") as file:
        return {"metrics": metrics, "predictions": dict(file)}


def config_of(name: str) -> str:
    return f"--config={ROOT / 'configs' / 'eval' / name}.py"


def test_nih_cxr14(model, tmp_path, capsys):
    build("nih_cxr14", out=tmp_path / "data", root=nih.tree(tmp_path), options=nih.options(), workers=1)
    fixed = ["--config.threshold_source=fixed", "--config.fixed_threshold=0.4"]
    result = evaluate(model, tmp_path / "out", config_of("nih_cxr14"), f"--data_dir={tmp_path / 'data'}", *fixed)
    metrics = result["metrics"]
    section = metrics["classification"]["pathology"]
    assert set(section["report"]["classes"]) == set(nih.CLASSES.values())
    assert set(section["report"]["macro"]["by_threshold_source"]) == {"test-oracle", "fixed"}
    assert metrics["class_map"]["Fibrosis"] == "tail_abnorm_obs"
    assert metrics["thresholds"]["source"] == "fixed" and metrics["threshold_split"] is None
    assert metrics["thresholds"]["sources"]["fixed"] == {"threshold": 0.4, "by_class": {}}
    assert set(metrics["grounding"]["classes"]) == {"infiltrate", "mass"}
    assert set(section["subgroups"]) == {"sex", "age_band", "view"}
    assert section["subgroups"]["view"]["AP"]["macro"]["reason"] == "only 1 patients, fewer than 10"
    assert section["subgroups"]["age_band"]["40-59"]["n_images"] == 2
    assert metrics["data"]["built_with"]["partial"] is True
    assert metrics["preprocessing"]["image_size"] == 64
    texts = metrics["prompts"]["texts"]
    assert texts["hernia"] in pathology_prompts() and len(texts) == 14
    assert metrics["prompts"]["tables_sha256"] == prompts_sha256()
    assert set(metrics["versions"]) == {"jax", "numpy", "scikit-learn"}
    out = capsys.readouterr().out
    assert "test-oracle (chosen on these labels)" in out and "fixed beforehand" in out
    assert all(str(tmp_path / "out" / name) in out for name in ("metrics.json", "predictions.npz", "reliability.png"))
    printed = out.split("written:")[0].splitlines()
    assert max(map(len, printed)) <= 110, max(printed, key=len)


@pytest.mark.parametrize("name", ["rsna", "siim_acr"])
def test_challenges(model, tmp_path, name):
    tree, finding = {"rsna": (rsna, "pneumonia"), "siim_acr": (siim, "pneumothorax")}[name]
    options = tree.options(split_fractions={"test": 1.0})
    build(name, out=tmp_path / "data", root=tree.tree(tmp_path), options=options, workers=1)
    argv = [config_of(name), f"--data_dir={tmp_path / 'data'}", "--threshold_split="]
    metrics = evaluate(model, tmp_path / "out", *argv)["metrics"]
    section = metrics["classification"]["pathology"]
    assert list(section["report"]["classes"]) == [finding]
    assert set(section["report"]["macro"]["by_threshold_source"]) == {"test-oracle"}
    assert metrics["protocol"]["threshold_source"] == "none"
    assert metrics["grounding"]["classes"][finding]["n_images"] == 2  # those with a box or mask
    assert section["subgroups"]["sex"]["F"]["n_images"] == section["report"]["n_images"]
    assert (tmp_path / "out" / "heatmaps.png").exists()


def test_covidx_asks_by_text(model, bert, tmp_path):
    build("covidx", out=tmp_path / "data", root=covidx.tree(tmp_path), options=covidx.OPTIONS, workers=1)
    data = f"--data_dir={tmp_path / 'data'}"
    result = evaluate(model, tmp_path / "out", config_of("covidx"), data, f"--encoder={bert}")
    metrics, predictions = result["metrics"], result["predictions"]
    assert set(metrics["classification"]) == {"targets"}
    report = metrics["classification"]["targets"]["report"]
    row = report["classes"]["covid19"]
    assert (row["n_positive"], row["n_negative"], row["auroc"]) == (1, 1, row["auroc"])
    assert row["auroc"] in (0.0, 0.5, 1.0)
    assert metrics["prompts"]["texts"]["covid19"] == metrics["class_map"]["covid19"]["text"]
    assert "grounding" not in metrics
    assert predictions["target_names"].tolist() == ["covid19"]
    assert sorted(predictions["targets"][:, 0]) == [0, 1]
    assert predictions["extra"].shape == (2, 1)
    page = tmp_path / "page.html"
    assert main.main(["report", str(model), f"--results={tmp_path / 'out'}", f"--out={page}"]) == 0
    assert "ROC of covid19" in page.read_text() and "covid19: " in page.read_text().split("<h2>Cases")[1]
    other = evaluate(
        model,
        tmp_path / "other",
        config_of("covidx"),
        data,
        f"--encoder={bert}",
        "--config.class_map.covid19.text=A virus.",
    )
    assert (other["predictions"]["extra"] != predictions["extra"]).any()
    assert other["metrics"]["prompts"]["sha256"] != metrics["prompts"]["sha256"]


def test_a_text_that_repeats_a_prompt_scores_like_its_class(model, bert, tmp_path, phantom_data):
    """The truth of a text under a class's name is that class's labels; its row is the table's, and so is its score."""
    effusion = pathology_index("effusion")
    text = pathology_prompts()[effusion]
    file = tmp_path / "mine.py"
    file.write_text(
        "from ml_collections import ConfigDict\n"
        "from medslip_jax.evaluation import default_protocol\n"
        "def get_config(arg=None):\n"
        "    protocol = default_protocol()\n"
        f"    protocol.data.name, protocol.data.dir = 'phantom', {str(phantom_data)!r}\n"
        f"    protocol.class_map = ConfigDict({{'effusion': {{'text': {text!r}}}, 'Mass': 'mass'}})\n"
        "    return protocol\n"
    )
    result = evaluate(model, tmp_path / "out", f"--config={file}", f"--encoder={bert}")
    classification, predictions = result["metrics"]["classification"], result["predictions"]
    assert list(classification["targets"]["report"]["classes"]) == ["effusion"]
    assert list(classification["pathology"]["report"]["classes"]) == ["mass"]
    assert list(result["metrics"]["grounding"]["classes"]) == ["mass"]
    np.testing.assert_array_equal(predictions["targets"][:, 0], predictions["labels"][:, effusion])
    np.testing.assert_allclose(predictions["extra"][:, 0], predictions["pathology"][:, effusion], atol=1e-4)
    page = tmp_path / "page.html"
    assert main.main(["report", str(model), f"--results={tmp_path / 'out'}", f"--out={page}"]) == 0
    assert "<h3>Queries given as text</h3>" in page.read_text() and "<dt>effusion</dt>" in page.read_text()
    assert compare(tmp_path / "out", tmp_path / "out", resamples=5)["left_out"] == []


def test_phantom_and_what_is_refused(model, phantom_data, tmp_path, capsys):
    argv = [config_of("phantom"), f"--data_dir={phantom_data}"]
    metrics = evaluate(model, tmp_path / "out", *argv, "--config.classes=('nodule','mass')", "--pictures=0")["metrics"]
    assert set(metrics["classification"]["pathology"]["report"]["classes"]) == {"nodule", "mass"}
    assert set(metrics["grounding"]["classes"]) <= {"nodule", "mass"}
    assert metrics["protocol"]["grounding"]["focal"]
    assert metrics["thresholds"]["sources"]["validation"]["images"] == 8
    capsys.readouterr()
    run = ["evaluate", f"--checkpoint={model}", f"--out={tmp_path / 'refused'}", "--batch_size=8", *argv]
    for flag, said in {
        "--config.subgroups=('sex',)": "no record of this split has 'sex'",
        "--config.classes=('nodul',)": "classes: 'nodul' is no class of this protocol",
        "--config.grounding.classes=('hernia',)": "the test split has no boxes of hernia",
        "--split=tset": "no split 'tset'",
        "--config.prompts=nowhere.json": "nowhere.json: cannot read the prompts",
    }.items():
        assert main.main([*run, flag]) == 2, flag
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    assert not (tmp_path / "refused" / "metrics.json").exists()


def test_a_bare_state_dict_with_given_tables(tmp_path, phantom_data):
    """What the tensors do not show is said, and prompts of unknown texts are null."""
    where = foreign(tmp_path / "bare.safetensors")
    argv = [f"--books={books_file(tmp_path / 'books.npz')}", "--data=phantom", f"--data_dir={phantom_data}"]
    metrics = evaluate(where, tmp_path / "out", *argv, "--threshold_split=", "--config.grounding.use=off")["metrics"]
    checkpoint = metrics["checkpoint"]
    assert checkpoint["path"] == str(where) and len(checkpoint["sha256"]) == 64
    assert "decoder_heads" in checkpoint["assumed"]
    assert set(metrics["prompts"]["texts"].values()) == {None} and metrics["prompts"]["sha256"] is None
    assert "grounding" not in metrics and not (tmp_path / "out" / "heatmaps.png").exists()


def test_folder_with_subgroups(model, tmp_path):
    rows = [
        {
            "file": f"{i}.png",
            "split": "test",
            "findings": ("Effusion", "No Finding")[i % 2],
            "view": "PA",
            "age": 20 + i,
        }
        for i in range(24)
    ]
    folder_csv.write(tmp_path, rows, header=(*folder_csv.HEADER, "sex", "age"))
    columns = folder_csv.OPTIONS["columns"] | {"sex": "sex", "age": "age"}
    rules = [{"classes": ["Effusion"]}]
    options = folder_csv.make_options(columns=columns, annotated_everywhere=rules)
    build("folder", out=tmp_path / "data", root=tmp_path, options=options, workers=1)
    argv = [f"{config_of('folder')}", f"--data_dir={tmp_path / 'data'}", "--threshold_split="]
    argv.append("--config.subgroups=('age_band','view')")
    metrics = evaluate(model, tmp_path / "out", *argv)["metrics"]
    groups = metrics["classification"]["pathology"]["subgroups"]
    assert groups["age_band"]["18-39"]["n_images"] == 20
    assert groups["age_band"]["40-59"]["macro"]["auroc"] is None
    pa = groups["view"]["PA"]
    assert pa["macro"]["auroc"] == metrics["classification"]["pathology"]["report"]["macro"]["auroc"]
    assert pa["macro_classes"] == ["effusion"]


def test_a_mistyped_path_is_said_first(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    assert main.main(["evaluate", "--checkpoint=runs/aa", "--out=out"]) == 2
    assert capsys.readouterr().err.startswith("medslip: --checkpoint runs/aa: no such file or directory; as a hub id: ")
