"""Sentences of kinds that people met in the field (docs/report_reader.md): the label is the maximum over anatomies.

`field_cases.json` was given to us. `field_sentences.json` was written before the rules that read it, its halves drawn
by a seed; `field_sentences_later.json` in six rounds after that, each unseen when it was first read. All are
invented.
"""

import html
import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from places import TESTS

from data_pipelines.radgraph import label_matrices
from data_pipelines.reports import extract
from data_pipelines.reports.headers import headers, words_of
from data_pipelines.reports.markup import plain_text
from medslip_jax.vocabulary import pathology_index


def read(name):
    return json.loads((TESTS / "data_pipelines/reports" / name).read_text(encoding="utf-8"))


CASES = read("field_cases.json")
SENTENCES = read("field_sentences.json")
LATER = read("field_sentences_later.json")


def labels(text, names):
    """{pathology: 1 present, 0 denied, -1 nothing said}."""
    _, matrices = label_matrices({"report": extract(text)})
    whole = matrices[0].max(axis=0) if len(matrices) else None
    return {name: -1 if whole is None else int(whole[pathology_index(name)]) for name in names}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:60])
def test_given_cases(case):
    assert labels(case["text"], case["expect"]) == case["expect"]


@pytest.mark.parametrize("case", SENTENCES, ids=lambda case: f"{case['kind']}, {case['half']}: {case['text'][:60]}")
def test_own_sentences(case):
    assert labels(case["text"], case["expect"]) == case["expect"]


def _later(case):
    marks = [pytest.mark.xfail(strict=True, reason="known to be read wrongly")] if case.get("wrong") else []
    return pytest.param(case, marks=marks, id=f"{case['kind']}, round {case['round']}: {case['text'][:60]}")


@pytest.mark.parametrize("case", map(_later, LATER))
def test_later_sentences(case):
    assert labels(case["text"], case["expect"]) == case["expect"]


def test_halves_are_halves_of_every_kind():
    assert len(SENTENCES) == 350
    assert len({case["text"] for case in (*CASES, *SENTENCES, *LATER)}) == 36 + 350 + 1378
    for kind in {case["kind"] for case in SENTENCES}:
        halves = [case["half"] for case in SENTENCES if case["kind"] == kind]
        assert abs(halves.count("seen") - halves.count("held")) <= 1


# Mark-up and escapes change no label.
PLAIN = [case for case in SENTENCES if case["kind"] in ("non", "earlier", "doubt_after", "denial", "resolution")]
WRAPPINGS = [
    lambda text: f"<p>{text}</p>",
    lambda text: f"<html><body><div class='a'>{text}</div></body></html>",
    lambda text: f"<b>{text.split()[0]}</b>{text[len(text.split()[0]) :]}",
    html.escape,
    lambda text: text.replace(" ", "&nbsp;"),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: f"**{text}**",
    lambda text: f"> {text}",
    lambda text: f"\ufeff{text}\\r\\n",
    lambda text: text.replace(" ", "\\t", 1),
    lambda text: text.replace("ff", "\ufb00").replace("fi", "\ufb01"),
    lambda text: text.replace("eu", "e\u00adu"),
    json.dumps,
]
ENDS = [
    "\n",
    "\r\n",
    "\\n",
    "\\r\\n",
    "\\\\n",
    "<br>",
    "<br/>\n",
    "<BR />",
    "\\.br\\",
    "&#10;",
    "_x000D_\n",
    "\u2028",
    "\x0b",
]


@settings(max_examples=200)
@given(st.sampled_from(PLAIN), st.lists(st.sampled_from(WRAPPINGS), min_size=1, max_size=2))
def test_markup_changes_no_label(case, wrappings):
    text = case["text"]
    for wrap in wrappings:
        text = wrap(text)
    assert labels(text, case["expect"]) == case["expect"], text


@settings(max_examples=200)
@given(st.sampled_from(PLAIN), st.sampled_from(PLAIN), st.sampled_from(ENDS))
def test_an_escaped_line_end_is_one(first, second, end):
    expect = {
        name: max(first["expect"].get(name, -1), second["expect"].get(name, -1))
        for name in first["expect"] | second["expect"]
    }
    assert labels(first["text"] + end + second["text"], expect) == expect


@settings(max_examples=100)
@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N", "Zs"), include_characters=".,:;?()-\n")))
def test_plain_text_stays(text):
    assert plain_text(text) == text


@settings(max_examples=200)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("<>/&;\\nrt*_|#'\" b"))))
def test_any_text_becomes_plain(text):
    plain = plain_text(text)
    assert not re.search(r"[\r\x0b\x0c\x85\u2028\u2029\u00ad\ufeff]", plain)


@pytest.mark.parametrize(
    "text", ["Nodule <5 mm, mass >2 cm.", "Left\\right and\\or", "r/o", "1/2 a_b 5*6", "[** **] ___"]
)
def test_what_is_no_markup_stays(text):
    assert plain_text(text).replace("[ ]", "[** **]") == text


# Misspelt names of sections.
NAMES = [
    "INDICATION",
    "CLINICAL HISTORY",
    "COMPARISON",
    "TECHNIQUE",
    "RECOMMENDATIONS",
    "EXAMINATION",
    "PRIOR EXAMINATION",
]


@st.composite
def misspelt(draw):
    """A name with one letter of a long word left out, doubled or exchanged with the next."""
    name = draw(st.sampled_from(NAMES))
    at = draw(st.integers(0, len(name) - 2))
    word = next(word for word in re.finditer(r"\S+", name) if word.end() > at)
    assume(word.end() - word.start() >= 7 and word.start() <= at)
    changed = draw(st.sampled_from(["left out", "doubled", "exchanged"]))
    if changed == "left out":
        return name[:at] + name[at + 1 :]
    if changed == "doubled":
        return name[:at] + name[at] + name[at:]
    assume(at + 1 < word.end())
    return name[:at] + name[at + 1] + name[at] + name[at + 2 :]


@settings(max_examples=150)
@given(misspelt(), st.sampled_from([":", " :", "  : ", "\t:"]))
def test_misspelt_headers_are_known(name, colon):
    text = f"{name}{colon} Right pneumothorax.\nFINDINGS: Small left effusion."
    assert labels(text, ["pneumothorax", "effusion"]) == {"pneumothorax": -1, "effusion": 1}


@pytest.mark.parametrize(
    "name", ["Lungs", "Pleura", "Heart", "Mediastinum", "Bones", "Tubes", "Airways", "Devices", "Position", "Effusion"]
)
def test_parts_of_the_description_are_corrected_to_no_section(name):
    found = [words_of(match) for match, _ in headers(f"{name}: Small effusion.")]
    assert found == [(name.lower().removesuffix("s") if name != "Pleura" else "pleura",)]
    assert labels(f"{name}: Small effusion.\nIMPRESSION: Edema.", ["effusion", "edema"]) == {"effusion": 1, "edema": 1}
