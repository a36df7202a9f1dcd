"""BERT against the golden numbers (SPEC 9), and the strictness of its weight reading."""

import json
import pickle
import re
import sys
from pathlib import Path

import jax
import msgpack
import numpy as np
import pytest
from flax.serialization import msgpack_serialize
from flax.traverse_util import unflatten_dict
from places import GOLDEN
from safetensors.numpy import save_file

from medslip_jax.errors import InputError
from medslip_jax.testing import recipe_state
from medslip_jax.text.bert import Bert, BertConfig
from medslip_jax.text.bert_weights import from_state_dict, load_bert

pytestmark = pytest.mark.portable

TOY = json.loads((GOLDEN / "bert_toy.json").read_text())
WORDS = "embeddings.word_embeddings.weight"
FFN = "encoder.layer.1.intermediate.dense.weight"


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    return recipe_state(TOY["state_dict"])


@pytest.fixture
def directory(tmp_path, state) -> Path:
    """A Hugging Face directory of the toy BERT."""
    (tmp_path / "config.json").write_text(json.dumps(TOY["config"] | {"model_type": "bert", "use_cache": True}))
    save_file(state, tmp_path / "model.safetensors")
    return tmp_path


def flax_tree(state: dict[str, np.ndarray]) -> dict:
    """The toy in the layout of Hugging Face's flax_model.msgpack."""
    flat = {}
    for name, array in state.items():
        *modules, leaf = name.split(".")
        if leaf == "weight":
            norm, table = "LayerNorm" in modules, modules[-1].endswith("_embeddings")
            leaf = "scale" if norm else "embedding" if table else "kernel"
            array = array.T if leaf == "kernel" else array
        flat[(*modules, leaf)] = np.ascontiguousarray(array)
    return unflatten_dict(flat)


def assert_same(params: dict, expected: dict) -> None:
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_toy_equals_golden(state):
    golden = np.load(GOLDEN / "bert_toy.npz")
    config = BertConfig(**TOY["config"])
    variables = {"params": from_state_dict(state, config=config)}
    with jax.numpy_rank_promotion("raise"):
        out = Bert(config).apply(variables, golden["input_ids"], golden["attention_mask"])
    np.testing.assert_allclose(out, golden["last_hidden_state"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(out[:, 0], golden["cls"], atol=1e-4, rtol=0)


def test_padding_does_not_change_the_text(state):
    config = BertConfig(**TOY["config"])
    # In float64: float32 products over three and over five rows may be summed in another order.
    with jax.enable_x64(True):
        params = from_state_dict(state, config=config)
        variables = {"params": jax.tree.map(lambda x: np.asarray(x, np.float64), params)}
        short = Bert(config).apply(variables, np.array([[7, 8, 9]]), np.ones((1, 3), np.int32))
        padded = Bert(config).apply(variables, np.array([[7, 8, 9, 0, 0]]), np.array([[1, 1, 1, 0, 0]]))
        np.testing.assert_allclose(padded[:, 0], short[:, 0], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("activation", "at_one"), [("gelu", 0.8413447), ("gelu_new", 0.8411920), ("relu", 1.0)])
def test_activations(activation, at_one):
    """All weights 0 but the feed-forward path, which sees 1: exact gelu(1) = Phi(1), tanh form 0.84119."""
    config = BertConfig(
        vocab_size=2,
        hidden_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=1,
        hidden_act=activation,
    )
    ids = np.zeros((1, 1), np.int32)
    variables = jax.tree.map(np.zeros_like, Bert(config).init(jax.random.key(0), ids, ids))
    layer = variables["params"]["layer_0"]
    layer["ffn_in"]["bias"] = np.ones(1, np.float32)
    layer["ffn_out"]["kernel"] = np.array([[2.0, 0.0]], np.float32)
    out, kept = Bert(config).apply(variables, ids, ids, capture_intermediates=True)
    assert out.shape == (1, 1, 2)
    ffn_out = kept["intermediates"]["layer_0"]["ffn_out"]["__call__"][0]
    np.testing.assert_allclose(ffn_out[0, 0], [2 * at_one, 0.0], atol=1e-6)


def test_reads_safetensors(directory, state):
    loaded = load_bert(directory)
    assert_same(loaded.params, from_state_dict(state, config=BertConfig(**TOY["config"])))
    assert loaded.path.name == "model.safetensors"
    assert re.fullmatch("[0-9a-f]{64}", loaded.sha256)


@pytest.mark.parametrize("under", [None, "bert"])
def test_reads_msgpack(directory, state, under):
    expected = load_bert(directory).params
    (directory / "model.safetensors").unlink()
    tree = flax_tree(state)
    if under:
        tree = {under: tree, "cls": {"predictions": {"bias": np.zeros(200, np.float32)}}}
    (directory / "flax_model.msgpack").write_bytes(msgpack_serialize(tree))
    assert_same(load_bert(directory).params, expected)


def test_prefix_head_and_old_names_are_understood(state):
    config = BertConfig(**TOY["config"])
    old = {"bert." + name: array for name, array in state.items()}
    old["bert.embeddings.LayerNorm.gamma"] = old.pop("bert.embeddings.LayerNorm.weight")
    old["bert.embeddings.LayerNorm.beta"] = old.pop("bert.embeddings.LayerNorm.bias")
    old["cls.predictions.bias"] = np.zeros(200, np.float32)
    old["bert.embeddings.position_ids"] = np.arange(64)[None]
    assert_same(from_state_dict(old, config=config), from_state_dict(state, config=config))


def test_half_precision_becomes_float32(state):
    half = {name: array.astype(np.float16) for name, array in state.items()}
    params = from_state_dict(half, config=BertConfig(**TOY["config"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}


def _drop(state):
    del state[FFN]


def _add(state):
    state["encoder.layer.3.output.dense.bias"] = np.zeros(48, np.float32)


def _reshape(state):
    state[FFN] = state[FFN].T.copy()


def _twice(state):
    state["bert." + WORDS] = state[WORDS]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, rf"1 missing \({FFN}\)"),
        (_add, r"1 unexpected \(encoder.layer.3.output.dense.bias\)"),
        (_reshape, rf"1 shape mismatch \({FFN} \(48, 96\), expected \(96, 48\)\)"),
        (_twice, "with and without the prefix"),
        (dict.clear, "53 missing .*; and 49 more"),
    ],
)
def test_weights_that_do_not_fit(directory, state, change, message):
    change(state)
    save_file(state, directory / "model.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        load_bert(directory)
    assert str(caught.value).startswith(str(directory)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "flax_model.msgpack"])
@pytest.mark.parametrize("keep", [0, 5, 1000, -7])
def test_truncated_file(directory, state, name, keep):
    content = (directory / "model.safetensors").read_bytes()
    if name != "model.safetensors":
        (directory / "model.safetensors").unlink()
        content = msgpack_serialize(flax_tree(state))
    (directory / name).write_bytes(content[:keep])
    with pytest.raises(InputError, match=f"{name}: not a readable checkpoint"):
        load_bert(directory)


def test_msgpack_of_something_else(directory):
    (directory / "model.safetensors").unlink()
    (directory / "flax_model.msgpack").write_bytes(msgpack.packb([1, 2]))
    with pytest.raises(InputError, match="it holds a list"):
        load_bert(directory)


def test_torch_file_without_torch(directory, monkeypatch):
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({}, protocol=2))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pytorch_model.bin: needs PyTorch; .*medslip_jax\[torch\]"):
        load_bert(directory)


@pytest.mark.torch
def test_torch_file(directory, state):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    expected = load_bert(directory).params
    (directory / "model.safetensors").unlink()
    torch.save({name: torch.from_numpy(x) for name, x in state.items()}, directory / "pytorch_model.bin")
    assert_same(load_bert(directory).params, expected)
    (directory / "pytorch_model.bin").write_bytes(b"not a zip file")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_bert(directory)


def test_directory_without_weights(directory):
    (directory / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no weights; expected one of model.safetensors, flax_model.msgpack"):
        load_bert(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_act": "swish"}, "hidden_act is 'swish'"),
        ({"num_attention_heads": 5}, "heads must divide"),
        ({"hidden_size": -4}, "hidden_size is -4"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps is 0.0"),
    ],
)
def test_config_that_cannot_be(tmp_path, change, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TOY["config"] | change))
    with pytest.raises(InputError, match=message) as caught:
        BertConfig.from_json(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hidden_size": 4}'])
def test_config_file_that_is_none(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))):
        BertConfig.from_json(path)
