import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN

from data_pipelines.radgraph.lemmas import lemmatise, without_plural
from data_pipelines.radgraph.matrices import observation_class

EXPECTED = json.loads((GOLDEN / "radgraph_lemmas.json").read_text())


@pytest.mark.parametrize(("word", "lemma"), EXPECTED.items())
def test_golden_lemmas(word, lemma):
    assert lemmatise(word) == lemma


@pytest.mark.parametrize(
    ("word", "pathology"),
    [
        ("Effusions", "effusion"),
        ("masses", "mass"),
        ("scarring", "scar"),
        ("crowded", "crowd"),
        ("obscuring", "obscure"),
        ("worsened", "excluded_obs"),
        ("worse", "excluded_obs"),
        ("larger", "excluded_obs"),
        ("processes", "process"),
        ("devices", "device"),
        ("hernias", "hernia"),
        ("densities", "density"),
        ("emphysema", "emphysema"),
        ("pneumothoraces", "pneumothorax"),
        ("thickening", "thicken"),
        ("bronchiectasis", "tail_abnorm_obs"),
        ("not well seen", "tail_abnorm_obs"),
    ],
)
def test_inflected_words_reach_their_class(word, pathology):
    assert observation_class(lemmatise(word)) == pathology


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        ("vertebrae", "vertebra"),
        ("granulomas", "granuloma"),
        ("not well visualized", "not well visualize"),
        ("thing", "thing"),
        ("bed", "bed"),
        ("diagnosis", "diagnosis"),
        ("abscesses", "abscess"),
    ],
)
def test_unseen_words(word, lemma):
    assert lemmatise(word) == lemma


def test_singular_leaves_words_that_only_end_in_s():
    assert [without_plural(w) for w in ("bases", "bodies", "process", "this", "gas", "lungs")] == [
        "base",
        "body",
        "process",
        "this",
        "gas",
        "lung",
    ]


@settings(max_examples=50)
@given(st.text())
def test_any_text_is_lower_case_and_keeps_its_word_count(text):
    lemma = lemmatise(text)
    assert lemma == lemma.lower()
    assert len(lemma.split(" ")) == max(1, len(text.lower().split()))
