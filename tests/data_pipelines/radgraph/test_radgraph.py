import copy
import csv
import json

import numpy as np
import pytest
from places import GOLDEN, SHARED

from data_pipelines import radgraph
from data_pipelines.radgraph import matrices
from medslip_jax import vocabulary
from medslip_jax.errors import InputError

pytestmark = pytest.mark.portable

STUDIES = json.loads((GOLDEN / "radgraph.json").read_text())


def entity(tokens, label, start, *relations):
    return {
        "tokens": tokens,
        "label": label,
        "start_ix": start,
        "end_ix": start,
        "relations": list(relations),
    }


def study():
    """The words below as RadGraph writes them."""
    return {
        "text": "left pleural effusion . no pneumothorax .",
        "entities": {
            "1": entity("left", "ANAT-DP", 0, ["modify", "2"]),
            "2": entity("pleural", "ANAT-DP", 1),
            "3": entity("effusion", "OBS-DP", 2, ["located_at", "2"]),
            "4": entity("pneumothorax", "OBS-DA", 5),
        },
    }


def cell(matrix, anatomy, pathology):
    return matrix[vocabulary.anatomy_index(anatomy), vocabulary.pathology_index(pathology)]


def test_golden_matrices():
    golden = np.load(GOLDEN / "radgraph.npz")
    ids, matrices = radgraph.label_matrices(STUDIES)
    assert ids.tolist() == golden["study_id"].tolist()
    assert matrices.dtype == np.int8
    np.testing.assert_array_equal(matrices, golden["matrix"])


def test_golden_rows():
    with (GOLDEN / "radgraph_parsed.csv").open(newline="") as file:
        expected = {
            (
                r["study_id"],
                int(float(r["sen_id"])),
                r["anatomy"],
                r["observation"],
                r["label"],
                r["obs_lemma"],
            )
            for r in csv.DictReader(file)
            if r["observation"]
        }
    found = {
        (matrices.study_id(key), *row)
        for key, one in STUDIES.items()
        for row in matrices.rows(radgraph.read_entities(one, key=key))
    }
    assert found == expected


def test_by_hand():
    ids, matrices = radgraph.label_matrices({"p10/p1/s77.txt": study()})
    assert ids.tolist() == ["77"]
    assert cell(matrices[0], "left_pleural", "effusion") == 1
    assert cell(matrices[0], "unspecified", "pneumothorax") == 0
    assert (matrices[0] >= 0).sum() == 2


def test_long_labels_mean_the_same():
    long = study()
    spelling = {
        "ANAT-DP": "Anatomy::definitely present",
        "OBS-DP": "Observation::definitely present",
        "OBS-DA": "Observation::definitely absent",
    }
    for one in long["entities"].values():
        one["label"] = spelling[one["label"]]
    _, matrices = radgraph.label_matrices({"_source": "a note", "a": study(), "b": long})
    assert len(matrices) == 2
    np.testing.assert_array_equal(matrices[0], matrices[1])


def test_uncertain_sets_nothing_and_a_study_without_observation_stays():
    uncertain = study()
    uncertain["entities"]["3"]["label"] = uncertain["entities"]["4"]["label"] = "OBS-U"
    ids, matrices = radgraph.label_matrices({"a": uncertain, "b": {"text": "x .", "entities": {}}})
    assert ids.tolist() == ["a"]
    assert (matrices == -1).all()


def test_present_beats_absent_in_either_order():
    present, absent = ("left_pleural", "effusion", True), ("left_pleural", "effusion", False)
    for order in ([present, absent], [absent, present]):
        assert cell(radgraph.triplets_matrix(order), "left_pleural", "effusion") == 1
    assert cell(radgraph.triplets_matrix([absent]), "left_pleural", "effusion") == 0
    assert (radgraph.triplets_matrix([]) == -1).all()


def test_unknown_triplet_name():
    with pytest.raises(InputError, match="left_pleura'"):
        radgraph.triplets_matrix([("left_pleura", "effusion", True)])


@pytest.mark.parametrize(
    ("anatomy", "landmark"),
    [
        ("pleural|left", "left_pleural"),
        ("pleural|left|right", "pleural_unspec"),
        ("lobe|right|lower", "lower_right_lobe"),
        ("lobe|lower", "lung_bases"),
        ("base|right", "right_lower_lung"),
        ("left", "left_lung_unspec"),
        ("lungs", "lung_volumes"),
        ("heart|border", "heart_border"),
        ("cavoatrial junction", "cavoatrial_junction"),
        ("cavoatrial", "other"),
        ("unspecified", "unspecified"),
    ],
)
def test_landmarks(anatomy, landmark):
    assert matrices.landmark(anatomy) == landmark


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("text",), 3, "'text'"),
        (("entities",), [], "'entities'"),
        (("entities", "3"), "effusion", "'tokens'"),
        (("entities", "3", "tokens"), None, "'tokens'"),
        (("entities", "3", "label"), ["OBS-DP"], "'label'"),
        (("entities", "3", "start_ix"), "2", "'start_ix'"),
        (("entities", "3", "start_ix"), True, "'start_ix'"),
        (("entities", "3", "start_ix"), 7, "'start_ix'"),
        (("entities", "3", "relations"), None, "'relations'"),
        (("entities", "3", "relations"), [["located_at", "9"]], "'relations'"),
        (("entities", "3", "relations"), [["located_at"]], "'relations'"),
        (("entities", "3", "lemma"), 5, "'lemma'"),
    ],
)
def test_malformed_study_is_named(path, value, field):
    broken = copy.deepcopy(study())
    *parents, last = path
    place = broken
    for name in parents:
        place = place[name]
    place[last] = value
    with pytest.raises(InputError) as error:
        radgraph.label_matrices({"p10/p1/s77.txt": broken})
    assert "'p10/p1/s77.txt'" in str(error.value)
    assert field in str(error.value)
    assert "\n" not in str(error.value)


def test_two_keys_of_one_study():
    with pytest.raises(InputError, match="study id 77 occurs twice"):
        radgraph.label_matrices({"p1/s77.txt": study(), "p2/s77.txt": study()})


def test_neither_object_nor_list():
    with pytest.raises(InputError, match="got str"):
        radgraph.label_matrices("p10/p1/s77.txt")


@pytest.mark.real
def test_public_format_example():
    path = SHARED / "cxr_sample/annotations/radgraph_format_example.json"
    if not path.exists():
        pytest.skip("../shared/cxr_sample is not here")
    ids, matrices = radgraph.label_matrices(json.loads(path.read_text()))
    assert ids.tolist() == ["0"]
    assert cell(matrices[0], "unspecified", "pneumothorax") == 0
    assert cell(matrices[0], "other", "tube") == 1
