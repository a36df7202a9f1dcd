"""What names and shapes say of a model, and which wrong one is named."""

import json

import pytest
from places import GOLDEN
from tiny_weights import CONFIGS, shapes

from medslip_jax.errors import InputError
from medslip_jax.models import MeDSLIPConfig
from medslip_jax.models.config import ClassifierConfig, SegmenterConfig
from medslip_jax.storage.matching import match
from medslip_jax.testing import tiny_config
from medslip_jax.weights.torch.config import check_fit, infer_config

FINETUNE = json.loads((GOLDEN / "finetune.manifest.json").read_text())
MANIFESTS = {"released": json.loads((GOLDEN / "resnet50.manifest.json").read_text()), **FINETUNE}


def _infer(config) -> dict:
    return infer_config(shapes(config), where="x")


@pytest.mark.parametrize(
    ("name", "config", "assumed"),
    [
        ("released", MeDSLIPConfig(), {"decoder_heads": 4, "mask_activation": "none"}),
        ("classifier", ClassifierConfig(), {}),
        ("classifier_disentangled", ClassifierConfig(disentangle="pathology"), {"mask_activation": "none"}),
        ("resunet", SegmenterConfig(), {}),
    ],
)
def test_released_manifests(name, config, assumed):
    got = infer_config(MANIFESTS[name], where="x")
    assert got["config"] == config
    assert got["assumed"] == assumed


@pytest.mark.parametrize(
    "config",
    [
        tiny_config(decoder_heads=4),
        tiny_config(decoder_heads=4, backbone="resnet50", trunk_width=16),
        tiny_config(decoder_heads=4, streams="pathology"),
        tiny_config(decoder_heads=4, share_query_projection=False),
        tiny_config(decoder_heads=4, patch_norm="layer_norm", text_dim=7, decoder_layers=3, decoder_ffn_dim=9),
        tiny_config(decoder_heads=4, mask_activation="off"),
        CONFIGS["classifier"],
        CONFIGS["disentangled"],
        ClassifierConfig(trunk_width=8, disentangle="pathology", embed_dim=12, mask_activation="off", num_classes=2),
        CONFIGS["segmenter"],
    ],
)
def test_everything_visible_is_seen(config):
    assert _infer(config)["config"] == config


def test_what_cannot_be_seen_is_said():
    assert _infer(tiny_config(mask_activation="sigmoid"))["assumed"] == {"decoder_heads": 4, "mask_activation": "none"}
    for change in ({"mask_activation": "off"}, {"streams": "pathology"}):
        assert _infer(tiny_config(**change))["assumed"] == {"decoder_heads": 4}, "no mask, nothing to assume of it"


def _with_blocks(config, counts: tuple[int, int, int]) -> dict:
    """The trunk of `config` with other numbers of blocks, each a copy of its stage's last block."""
    out = {k: v for k, v in shapes(config).items() if not k.startswith("res_features.")}
    for name, shape in shapes(config).items():
        stage, _, rest = name.removeprefix("res_features.").partition(".")
        if not name.startswith("res_features.") or int(stage) < 4:
            out[name] = shape
        elif rest.startswith("1."):
            for block in range(counts[int(stage) - 4]):
                out[f"res_features.{stage}.{block}{rest[1:]}"] = shape
    return out


@pytest.mark.parametrize(
    ("backbone", "counts", "message"),
    [
        ("resnet18", (3, 4, 6), "3-4-6 basic blocks"),
        ("resnet50", (3, 4, 23), "3-4-23 bottleneck blocks"),
        ("resnet50", (3, 8, 36), "3-8-36 bottleneck blocks"),
    ],
    ids=["resnet34", "resnet101", "resnet152"],
)
def test_other_resnets_are_refused_by_their_blocks(backbone, counts, message):
    with pytest.raises(InputError, match=f"^x: the backbone has {message}; known are resnet50 3-4-6; resnet18 2-2-2$"):
        infer_config(_with_blocks(tiny_config(backbone=backbone), counts), where="x")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conv1.weight", "layer1.0.conv1.weight"], "its tensors are called conv1.weight; layer1.0.conv1.weight$"),
        ([], "it holds no tensor$"),
    ],
    ids=["torchvision's own names", "empty"],
)
def test_no_model_of_ours(names, message):
    with pytest.raises(InputError, match=f"^x: no MeDSLIP model, classifier or U-Net; {message}"):
        infer_config(dict.fromkeys(names, (64, 3, 7, 7)), where="x")


@pytest.mark.parametrize(
    ("have", "expected", "message"),
    [
        (tiny_config(), tiny_config(backbone="resnet50"), "backbone resnet18, expected resnet50"),
        (tiny_config(), tiny_config(trunk_width=16), "trunk_width 8, expected 16"),
        (tiny_config(), tiny_config(embed_dim=32), "embed_dim 16, expected 32"),
        (tiny_config(), tiny_config(text_dim=768), "text_dim 12, expected 768"),
        (tiny_config(), tiny_config(decoder_layers=4), "decoder_layers 1, expected 4"),
        (tiny_config(), tiny_config(streams="pathology"), "streams dual, expected pathology"),
        (CONFIGS["segmenter"], CONFIGS["classifier"], "kind segmenter, expected classifier$"),
        (CONFIGS["classifier"], CONFIGS["disentangled"], "disentangle none, expected pathology"),
        (
            tiny_config(trunk_width=16, backbone="resnet50"),
            tiny_config(),
            "backbone resnet50, expected resnet18; trunk_width 16, expected 8$",
        ),
    ],
)
def test_wrong_model_is_named(have, expected, message):
    with pytest.raises(InputError, match=f"^x: another model: .*{message}"):
        check_fit(match(shapes(have), shapes(expected)), shapes(have), expected, where="x")


def test_a_lost_tensor_is_not_another_model():
    have = shapes(tiny_config())
    del have["mask_generator.bias"]
    with pytest.raises(InputError, match=r"^x: 1 missing \(mask_generator.bias\); \d+ fit$"):
        check_fit(match(have, shapes(tiny_config())), have, tiny_config(), where="x")


@pytest.mark.parametrize("field", [{"trunk_width": "8"}, {"trunk_width": None}, {"dropout": "no"}])
def test_fields_of_another_type(field):
    """As a description edited by hand may hold."""
    with pytest.raises(InputError, match=f"model.{next(iter(field))}="):
        MeDSLIPConfig(**field)
