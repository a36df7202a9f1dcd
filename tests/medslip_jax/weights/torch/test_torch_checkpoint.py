import json

import jax
import numpy as np
import pytest
from places import GOLDEN

from medslip_jax.errors import InputError
from medslip_jax.models import MeDSLIP, MeDSLIPConfig
from medslip_jax.testing import recipe_state, tiny_config
from medslip_jax.weights.torch.conversion import from_torch, to_torch

MANIFEST = json.loads((GOLDEN / "resnet50.manifest.json").read_text())


@pytest.fixture(scope="module")
def released():
    return recipe_state(MANIFEST)


def _init(config):
    book = np.zeros((3, config.text_dim), np.float32)
    image = np.zeros((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(MeDSLIP(config).init, jax.random.key(0), image, book, book)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)


def test_released_names_round_trip_bit_exact(released):
    back = to_torch(from_torch(released))
    assert back.keys() == released.keys()
    for name, array in released.items():
        assert back[name].dtype == array.dtype, name
        assert np.array_equal(back[name], array), name


@pytest.mark.parametrize(
    "config",
    [
        tiny_config(),
        tiny_config(streams="pathology"),
        tiny_config(share_query_projection=False),
        tiny_config(mask_activation="off"),
        tiny_config(backbone="resnet50"),
    ],
    ids=["dual", "single", "two projections", "no mask", "resnet50"],
)
def test_every_leaf_round_trips(config):
    variables = _init(config)
    back = from_torch(to_torch(variables, config), config)
    assert jax.tree.structure(back) == jax.tree.structure(dict(variables))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, back, dict(variables))))


def test_packed_attention_is_query_key_value(released):
    leaves = from_torch(released)["params"]["decoder_anatomy"]["layer_2"]["cross_attention"]
    packed = released["decoder_anatomy.layers.2.multihead_attn.in_proj_weight"]
    assert np.array_equal(leaves["query"]["kernel"], packed[:256].T)
    assert np.array_equal(leaves["key"]["kernel"], packed[256:512].T)
    assert np.array_equal(leaves["value"]["kernel"], packed[512:].T)


def test_ddp_prefix_and_old_name_are_understood(released):
    old = {
        "module." + name.replace("pathology_embedding_layer", "disease_embedding_layer"): array
        for name, array in released.items()
    }
    got, want = from_torch(old), from_torch(released)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, got, want)))


def _without(state, name):
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _without(s, "cl_fc_anatomy.bias"), r"1 missing \(cl_fc_anatomy.bias\); 425 fit"),
        (lambda s: s | {"extra.weight": np.zeros(3)}, r"1 unexpected \(extra.weight\); 426 fit"),
        (
            lambda s: s | {"mask_generator.bias": np.zeros(7)},
            r"mask_generator.bias \(7,\), expected \(1024,\)",
        ),
        (lambda s: s | {"module.cl_fc_anatomy.bias": np.ones(768)}, "there twice"),
        (lambda s: s | {"decoder_anatomy.norm.bias": np.ones(256)}, "decoder_anatomy.norm.bias differs"),
    ],
    ids=["missing", "unexpected", "shape", "twice", "shared norm"],
)
def test_strict(released, change, message):
    with pytest.raises(InputError, match=message):
        from_torch(change(released))


def test_wrong_backbone_is_refused(released):
    with pytest.raises(InputError, match="another model: backbone resnet50, expected resnet18"):
        from_torch(released, MeDSLIPConfig(backbone="resnet18"))
