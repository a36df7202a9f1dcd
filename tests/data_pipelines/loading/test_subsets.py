import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_targets import record

from data_pipelines.loading.subsets import Subset, known_images, nested_rows
from data_pipelines.loading.targets import Targets
from medslip_jax.errors import InputError

patients = st.lists(st.integers(0, 30).map(str), min_size=1, max_size=120)


@given(patients, st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5))
def test_larger_subsets_hold_the_smaller_ones_and_whole_patients(patients, a, b, seed):
    small, large = (nested_rows(patients, fraction=f, seed=seed) for f in sorted((a, b)))
    assert set(small) <= set(large)
    assert small == sorted(small)
    inside = {patients[row] for row in small}
    assert [row for row, patient in enumerate(patients) if patient in inside] == small
    assert len(small) >= max(1, round(min(a, b) * len(patients)))


@given(patients, st.integers(0, 5))
def test_everything_is_the_whole(patients, seed):
    assert nested_rows(patients, fraction=1.0, seed=seed) == list(range(len(patients)))


def test_one_percent_of_ten_thousand_is_a_hundred_and_depends_on_the_seed():
    patients = [str(i) for i in range(10_000)]
    first, second = (nested_rows(patients, fraction=0.01, seed=seed) for seed in (0, 1))
    assert len(first) == len(second) == 100 and first != second


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan")])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(InputError, match=r"data\.fraction"):
        nested_rows(["a"], fraction=fraction, seed=0)


def test_images_without_a_known_truth_are_left_out():
    source = [record(0, mass=1), record(1), record(2, mass=0)]
    known = known_images(source, targets=Targets("labels", ("mass",)))
    assert known == {"rows": [0, 2], "patients": ["p0", "p2"]}
    subset = Subset(source, known["rows"])
    assert len(subset) == 2 and subset[1]["image_id"] == "image-2" and np.array_equal(subset.rows, (0, 2))
