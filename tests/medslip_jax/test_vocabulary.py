import json

import numpy as np
import pytest

from medslip_jax import vocabulary as v
from medslip_jax.errors import InputError


def test_order_is_that_of_the_checkpoint():
    assert (len(v.ANATOMIES), len(v.PATHOLOGIES)) == (51, 75)
    assert (v.ANATOMIES[0], v.ANATOMIES[-2:]) == ("trachea", ("unspecified", "other"))
    assert v.PATHOLOGIES[:3] == ("normal", "clear", "sharp")
    assert v.PATHOLOGIES[-2:] == ("tail_abnorm_obs", "excluded_obs")
    assert v.pathology_index("effusion") == 8
    assert v.anatomy_index("left_pleural") == 4
    assert len(set(v.ANATOMIES)) == 51
    assert len(set(v.PATHOLOGIES)) == 75


def test_unknown_names():
    with pytest.raises(InputError, match="unknown anatomy 'knee'"):
        v.anatomy_index("knee")
    with pytest.raises(InputError, match="unknown pathology 'cold'"):
        v.pathology_index("cold")


def test_every_landmark_rule_names_an_anatomy():
    assert {rule["landmark"] for rule in v.LANDMARK_RULES} <= set(v.ANATOMIES)


def test_anatomy_prompts():
    assert v.anatomy_prompts()[4] == "It is located at left_pleural. "
    assert len(v.anatomy_prompts()) == 51


def test_pathology_prompts_are_distinct_sentences():
    prompts = v.pathology_prompts()
    assert len(set(prompts)) == len(prompts) == 75
    for prompt in prompts:
        assert prompt[0].isupper()
        assert prompt.endswith(".")
        assert 8 <= len(prompt.split()) <= 45


def test_prompts_file_keeps_vocabulary_order(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({name: f"About {name}." for name in reversed(v.PATHOLOGIES)}))
    assert v.pathology_prompts(path) == [f"About {name}." for name in v.PATHOLOGIES]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected a JSON object"),
        ("{", "not valid JSON"),
        ('{"effusion": "x", "cold": "y"}', "unknown: \\['cold'\\]"),
        (json.dumps(dict.fromkeys(v.PATHOLOGIES, "x") | {"effusion": " "}), "empty: \\['effusion'\\]"),
        (json.dumps(dict.fromkeys(v.PATHOLOGIES, "x") | {"mass": 3}), "empty: \\['mass'\\]"),
    ],
)
def test_bad_prompts_file_is_named(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        v.pathology_prompts(path)
    assert str(path) in str(error.value)


def test_missing_prompts_file(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        v.pathology_prompts(tmp_path / "none.json")


def test_side_swap_is_an_involution_that_exchanges_sides():
    swap = v.side_swap()
    np.testing.assert_array_equal(swap[swap], np.arange(51))
    moved = {(v.ANATOMIES[i], v.ANATOMIES[j]) for i, j in enumerate(swap) if i != j}
    assert ("left_pleural", "right_pleural") in moved
    assert ("lower_right_lobe", "lower_left_lobe") in moved
    sided = {n for n in v.ANATOMIES if {"left", "right"} & set(n.split("_"))}
    assert {a for a, _ in moved} == sided - {"middle_right_lobe", "right_atrium", "right_ventricle"}
