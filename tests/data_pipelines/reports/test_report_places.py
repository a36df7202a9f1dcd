"""Places that a plain order of words hides: sentences of our own, each for one rule of `places.py`."""

import pytest

from data_pipelines.radgraph import read_entities, study_triplets
from data_pipelines.reports import extract

LEFT, RIGHT = "left_pleural effusion", "right_pleural effusion"


def found(text):
    return {f"{t.anatomy} {t.pathology}" for t in study_triplets(read_entities(extract(text), key="x")) if t.exists}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a word of size between the side and the rest
        ("Bilateral small pleural effusions.", {LEFT, RIGHT}),
        ("Right-sided large pleural effusion.", {RIGHT}),
        ("Right small and left large pleural effusions.", {LEFT, RIGHT}),
        ("Left non-loculated pleural effusion.", {LEFT}),
        ("Left moderate apical pneumothorax.", {"left_apical_lung pneumothorax"}),
        ("Effusion on the left, improved pleural thickening.", {LEFT, "pleural_unspec thicken"}),
        # sides compared
        ("Pleural effusions, right greater than left.", {LEFT, RIGHT}),
        ("Moderate effusions, left larger than right.", {LEFT, RIGHT}),
        ("Basilar opacities, left greater than right.", {"lung_bases opacity"}),
        ("An effusion, larger than before, on the left.", {"unspecified effusion"}),
        # the place first
        ("In the right upper lobe a small nodule is present.", {"upper_right_lobe nodule"}),
        ("At the left base a hazy opacity is noted.", {"left_lower_lung opacity"}),
        ("In the left upper lobe a mass, and there is an effusion.", {"upper_left_lobe mass", "unspecified effusion"}),
        # "calcified" is where the finding is
        ("Calcified left hilar nodule.", {"left_hilar calcification", "left_hilar nodule"}),
        ("Calcified nodule left lower lobe.", {"lower_left_lobe calcification", "lower_left_lobe nodule"}),
        ("The aorta is calcified, a nodule is in the lingula.", {"aorta calcification", "upper_left_lobe nodule"}),
    ],
)
def test_place(text, expected):
    assert found(text) == expected
