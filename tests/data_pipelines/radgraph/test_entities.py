"""RadGraph output of every release, and of people's own writing: read, or left out study by study with a count."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines import radgraph
from data_pipelines.radgraph.entities import plain_label
from data_pipelines.radgraph.stream import iter_label_matrices
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index, pathology_index

EFFUSION = (anatomy_index("left_pleural"), pathology_index("effusion"))


def entity(tokens, label, start, *relations, **more):
    return {"tokens": tokens, "label": label, "start_ix": start, "relations": [list(r) for r in relations]} | more


def study(anatomy="ANAT-DP", observation="OBS-DP"):
    """Present: an effusion at the left pleura."""
    return {
        "text": "left pleural effusion .",
        "entities": {
            "1": entity("left", anatomy, 0, ("modify", "2"), end_ix=0),
            "2": entity("pleural", anatomy, 1, end_ix=1),
            "3": entity("effusion", observation, 2, ("located_at", "2"), end_ix=2),
        },
    }


ONE = radgraph.label_matrices({"a": study()})[1][0]


def test_the_study_by_hand():
    assert ONE[EFFUSION] == 1
    assert (ONE >= 0).sum() == 1


@pytest.mark.parametrize(
    ("label", "plain"),
    [
        ("ANAT-DP", "ANAT-DP"),
        ("obs-u", "OBS-U"),
        ("Observation::definitely absent", "OBS-DA"),
        ("Anatomy::measurement::definitely present", "ANAT-DP"),
        ("Observation::measurement::uncertain", "OBS-U"),
        ("Observation :: definitely present", "OBS-DP"),
        ("CHAN-NC", "CHAN"),
        ("CHAN-CON-AP", "CHAN"),
        ("CHAN-DEV-DISA", "CHAN"),
        ("OBS", ""),
        ("OBS-XX", ""),
        ("Device::definitely present", ""),
        ("", ""),
    ],
)
def test_labels(label, plain):
    assert plain_label(label) == plain


@pytest.mark.parametrize("middle", ["", "::measurement"])
def test_labels_of_radgraph_xl(middle):
    long = study(f"Anatomy{middle}::definitely present", f"Observation{middle}::definitely present")
    np.testing.assert_array_equal(radgraph.label_matrices({"a": long})[1], [ONE])


def test_words_of_change_say_nothing_of_their_own():
    """RadGraph2: "new" is neither a finding nor a place, and what it points at stays what it is."""
    changed = study()
    changed["entities"]["4"] = entity("new", "CHAN-CON-AP", 3, ("modify", "3"))
    skipped = radgraph.Skipped()
    np.testing.assert_array_equal(radgraph.label_matrices({"a": changed}, skipped=skipped)[1], [ONE])
    assert skipped.lines() == []


def test_the_test_set_of_radgraph_1_has_two_readers():
    other = study(observation="OBS-DA")
    wrapped = {"text": study()["text"], "data_split": "test"}
    both = wrapped | {"labeler_1": {"entities": study()["entities"]}, "labeler_2": {"entities": other["entities"]}}
    second = wrapped | {"labeler_2": other}
    ids, matrices = radgraph.label_matrices({"p1/s1.txt": both, "p1/s2.txt": second})
    assert ids.tolist() == ["1", "2"]
    np.testing.assert_array_equal(matrices[0], ONE)
    assert matrices[1][EFFUSION] == 0


def test_whole_numbers_as_ids():
    numbered = study()
    numbered["entities"] = {
        int(name): one | {"relations": [[kind, int(target)] for kind, target in one["relations"]]}
        for name, one in numbered["entities"].items()
    }
    np.testing.assert_array_equal(radgraph.label_matrices({7: numbered})[1], [ONE])


def test_no_end_ix():
    bare = study()
    for one in bare["entities"].values():
        del one["end_ix"]
    np.testing.assert_array_equal(radgraph.label_matrices({"a": bare})[1], [ONE])


@pytest.mark.parametrize(
    ("outputs", "ids"),
    [
        ([study(), study()], ["0", "1"]),
        ([{"0": study(), "1": study()}, {"0": study()}], ["0", "1", "2"]),
        ([{"p1/s9.txt": study()}, {"0": study()}], ["9", "1"]),
        ([], []),
    ],
)
def test_lists_of_outputs(tmp_path, outputs, ids):
    found, matrices = radgraph.label_matrices(outputs)
    assert found.tolist() == ids
    assert all((matrix == ONE).all() for matrix in matrices)
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(outputs))
    for chunk in (5, 1 << 20):
        assert [name for name, _ in iter_label_matrices(path, chunk=chunk)] == ids


def spoilt(study_):
    one = copy.deepcopy(study_)
    one["entities"]["3"]["relations"] = [["located_at", "9"]]
    return one


def test_one_bad_study_does_not_take_the_others_with_it(tmp_path):
    studies = {"p1/s1.txt": study(), "p1/s2.txt": spoilt(study()), "p1/s3.txt": 7, "p1/s4.txt": study()}
    with pytest.warns(UserWarning, match=r"2 of 4 studies left out: RadGraph study 'p1/s2.txt', entity '3'"):
        ids, _ = radgraph.label_matrices(studies)
    assert ids.tolist() == ["1", "4"]
    path = tmp_path / "graphs.json"
    path.write_text(json.dumps(studies))
    with pytest.warns(UserWarning, match=r"graphs.json: RadGraph: 2 of 4 studies left out"):
        assert [name for name, _ in iter_label_matrices(path)] == ["1", "4"]


def test_where_nothing_can_be_read_the_file_is_refused():
    with pytest.raises(InputError, match=r"^RadGraph study 'a', entity '3': field 'relations'"):
        radgraph.label_matrices({"a": spoilt(study()), "b": 7})


def test_unknown_labels_are_counted_and_the_rest_is_kept():
    odd = study()
    odd["entities"] |= {"4": entity("tube", "DEV-DP", 3), "5": entity("line", "DEV-DP", 3), "6": entity("x", "?", 3)}
    skipped = radgraph.Skipped()
    np.testing.assert_array_equal(radgraph.label_matrices({"a": odd}, skipped=skipped)[1], [ONE])
    assert skipped.lines() == ["RadGraph: entities of unknown labels left out: 'DEV-DP' (2), '?' (1)"]
    with pytest.warns(UserWarning, match="'DEV-DP' "):
        radgraph.label_matrices({"a": odd})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["tokens", "label", "start_ix", "relations", "lemma", "text", "entities", "labeler_1"])


@given(st.lists(st.tuples(fields, json_values), min_size=1, max_size=3), st.sampled_from(["study", "1", "2", "3"]))
def test_any_change_of_a_study_is_read_or_refused(changes, place):
    other = study()
    target = other if place == "study" else other["entities"][place]
    target.update(changes)
    skipped = radgraph.Skipped()
    ids, matrices = radgraph.label_matrices({"good": study(), "odd": other}, skipped=skipped)
    np.testing.assert_array_equal(matrices[0], ONE)
    assert ids.tolist()[0] == "good"
    assert skipped.used + len(skipped.studies) == 2
    assert all("\n" not in line for line in skipped.lines())
