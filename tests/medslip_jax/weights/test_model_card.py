"""The generated model card: what it must say, and that the hub can read its head whatever things are called."""

import json

import pytest

from medslip_jax.experiment import default_config
from medslip_jax.models import ClassifierConfig, SegmenterConfig
from medslip_jax.testing import tiny_books, tiny_config
from medslip_jax.weights.bundle import describe
from medslip_jax.weights.model_card import model_card

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which comes with huggingface_hub")

CONFIGS = {"medslip": tiny_config(), "classifier": ClassifierConfig(num_classes=14), "segmenter": SegmenterConfig()}
ODD = [
    "cc-by-nc-4.0",
    "other: see LICENSE #2",
    'it\'s 100% "free" \\ [really] {yes} & *all*',
    "- yes\n- no",
    "---",
    "null",
    "1.0",
    "Prüfungsordnung 許諾",
    "\U0001fa7b emoji",
    "tab\there, bell\x07, delete\x7f, line\u2028separator",
]


def experiment_of(name="phantom", **changes):
    config = default_config()
    config.data.name = name
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config.to_dict()


def card_of(kind="medslip", *, license="mit", metrics=None, experiment=None, source=None) -> str:
    books = tiny_books() if kind == "medslip" else None
    info = describe(CONFIGS[kind], experiment=experiment, books=books, source=source)
    return model_card(info, license=license, metrics=metrics)


def head(card: str) -> dict:
    """As the hub reads it: the YAML between the first two lines of three dashes."""
    lines = card.split("\n")
    assert lines[0] == "---"
    return yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))


def section(card: str, title: str) -> str:
    return card.partition(f"\n## {title}\n\n")[2].partition("\n\n## ")[0].strip()


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_every_card_says(kind):
    card = card_of(kind, license="cc-by-nc-4.0", experiment=experiment_of(data__train_images=123))
    assert "**Not for clinical use.**" in card.partition("\n## ")[0]
    assert section(card, "Licence").startswith("cc-by-nc-4.0, for these weights.")
    assert section(card, "Training data") == "`phantom`, 123 training images."
    assert section(card, "Results") == "None given."
    assert "- mean: [0.485, 0.456, 0.406]" in section(card, "Preprocessing")
    assert "- backbone: resnet" in section(card, "Model")
    assert "- jax: " in section(card, "Origin")
    name = {"medslip": "MeDSLIP", "classifier": "Classifier", "segmenter": "Segmenter"}[kind]
    assert f"from medslip_jax.models import {name}\n" in section(card, "Use")
    # The PyTorch module is the pre-training model's.
    assert ("torch_model" in card) == (kind == "medslip")
    assert card.count("\n# ") == 1 and card.endswith("\n") and not card.endswith("\n\n")


@pytest.mark.parametrize("kind", CONFIGS)
def test_code_of_the_card_is_python(kind):
    blocks = section(card_of(kind), "Use").split("```python\n")[1:]
    assert len(blocks) == (2 if kind == "medslip" else 1)
    for block in blocks:
        compile(block.partition("```")[0], "card", "exec")


def test_front_matter():
    got = head(card_of(license="cc-by-nc-4.0", experiment=experiment_of()))
    assert got["license"] == "cc-by-nc-4.0"
    assert got["datasets"] == ["phantom"]
    assert got["library_name"] == "medslip_jax"
    assert got["pipeline_tag"] == "zero-shot-image-classification"
    assert {"chest-x-ray", "medical", "jax", "pytorch"} <= set(got["tags"])
    # What nobody knows is not there, rather than empty.
    assert "datasets" not in head(card_of())
    assert "pipeline_tag" not in head(card_of("segmenter"))


@pytest.mark.parametrize("text", ODD)
def test_odd_names_survive_the_front_matter(text):
    got = head(card_of(license=text, experiment=experiment_of(text)))
    assert got["license"] == text
    assert got["datasets"] == [text]


def test_metrics_as_a_table():
    metrics = {
        "macro AUROC, test": {"value": 0.81234, "low": 0.79, "high": 0.83},
        "without interval": {"value": 0.5, "low": None, "high": None},
        "plain": 0.12345,
        "count": 16,
        "undefined": {"value": None, "low": None, "high": None},
        "a | b": 1.0,
    }
    assert section(card_of(metrics=metrics), "Results").splitlines() == [
        "| metric | value |",
        "|---|---|",
        "| macro AUROC, test | 0.812 [0.790, 0.830] |",
        "| without interval | 0.500 |",
        "| plain | 0.123 |",
        "| count | 16 |",
        "| undefined | - |",
        "| a \\| b | 1.000 |",
    ]


def test_all_that_the_model_was_trained_on_is_named():
    """Weights carry what their data and the weights they started from allow."""
    mixture = experiment_of("openi", data__mixture="openi=2,nih_cxr14=1", init_from="pykale/MeDSLIP")
    card = card_of(experiment=mixture)
    assert head(card)["datasets"] == ["openi", "nih_cxr14"]
    text = section(card, "Training data")
    assert text == "`openi`, `nih_cxr14`. Training started from the weights `pykale/MeDSLIP`."


def test_unknown_data_are_called_so():
    text = section(card_of(source={"name": "MeDSLIP_resnet50.pth", "sha256": "ab" * 32}), "Training data")
    assert text.startswith("Not recorded")


def test_origin_tells_weights_and_tables():
    text = section(card_of(source={"name": "MeDSLIP_resnet50.pth", "sha256": "ab" * 32}), "Origin")
    assert "- source, name: MeDSLIP_resnet50.pth" in text
    assert f"- source, sha256: {'ab' * 32}" in text
    assert "- text tables, encoder: random" in text


def test_equal_descriptions_give_equal_cards():
    info = describe(CONFIGS["medslip"], experiment=experiment_of(), books=tiny_books())
    read_back = json.loads(json.dumps(info))
    assert model_card(info, license="mit") == model_card(read_back, license="mit")
