"""metrics.json and predictions.npz: how numbers are written, what the reader refuses (more in test_reporting.py)."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.evaluation.result_files import (
    ids_hash,
    json_bytes,
    read_results,
    reading,
    round_numbers,
    write_metrics,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


def test_six_digits_by_hand():
    value = {"auroc": 0.123456789, "n": 1234567, "ok": True, "none": None, "tiny": 1.23456789e-9, "list": (0.1 + 0.2,)}
    assert round_numbers(value) == {
        "auroc": 0.123457,
        "n": 1234567,
        "ok": True,
        "none": None,
        "tiny": 1.23457e-9,
        "list": [0.3],
    }
    assert round_numbers(value)["ok"] is True


def test_a_threshold_is_a_score_and_stays():
    """Rounded down it would call the image present whose score it is."""
    score = 0.1554984748363495
    found = round_numbers({"by_threshold_source": {"validation": {"threshold": score, "f1": 1 / 3}}})
    assert found["by_threshold_source"]["validation"] == {"threshold": score, "f1": 0.333333}


def test_a_table_reads_as_one():
    value = {"a": 1, "rows": [{"x": 1.5, "y": None}, {"x": 2.5, "y": []}], "empty": {}}
    assert json_bytes(value).decode() == (
        '{\n "a": 1,\n "rows": [\n  {"x": 1.5, "y": null},\n  {"x": 2.5, "y": []}\n ],\n "empty": {}\n}\n'
    )
    long = {"texts": {"one": "x" * 300, "two": "y" * 300}}
    assert json_bytes(long).count(b"\n") == 6


@settings(max_examples=100)
@given(JSON)
def test_any_json_comes_back(value):
    assert json.loads(json_bytes(value)) == value


def test_no_json_is_no_file():
    with pytest.raises(ValueError, match="Out of range"):
        json_bytes({"a": {"b": float("nan")}})


@pytest.fixture
def directory(tmp_path):
    """Results of two classes and a query given as text on three images."""
    arrays = {
        "image_id": np.array(["a", "b", "c"]),
        "patient_id": np.array(["p", "p", "q"]),
        "index": np.arange(3),
        "pathology_names": np.array(["mass", "edema", "hernia"]),
        "pathology": np.arange(9).reshape(3, 3) / 10,
        "labels": np.eye(3, dtype=np.int8),
        "target_names": np.array(["flu"]),
        "extra": np.full((3, 1), 0.5),
        "targets": np.ones((3, 1), np.int8),
    }
    metrics = {
        "data": {"ids_sha256": ids_hash(arrays)},
        "classification": {
            "anatomy": {},
            "targets": {"report": {"classes": {"flu": {}}}},
            "pathology": {"report": {"classes": {"hernia": {}, "mass": {}}}},
        },
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    np.savez(tmp_path / "predictions.npz", **arrays)
    return tmp_path


def test_judged_classes_come_in_the_order_of_the_report(directory):
    results = read_results(directory / "metrics.json")
    assert results.sections == ["pathology", "targets"]
    found = results.judged("pathology")
    assert found.names == ["hernia", "mass"]
    np.testing.assert_allclose(found.scores, [[0.2, 0], [0.5, 0.3], [0.8, 0.6]])
    np.testing.assert_array_equal(found.labels, [[0, 1], [0, 0], [1, 0]])
    part = found.chosen(["mass"], rows=np.array([2, 0]))
    np.testing.assert_allclose(part.scores, [[0.6], [0]])
    assert results.judged("targets").labels.tolist() == [[1], [1], [1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": None}, r"predictions.npz: has no array 'extra'"),
        ({"extra": np.ones((3, 2))}, "its arrays do not fit each other"),
        ({"extra": np.full((3, 1), np.nan)}, "probabilities that are not finite"),
        ({"target_names": np.array(["cold"])}, "has no scores of flu, which metrics.json judges"),
        ({"image_id": np.array(["a", "b", "d"])}, "other images than those of metrics.json"),
    ],
)
def test_arrays_that_are_not_those_of_metrics(directory, changes, message):
    with np.load(directory / "predictions.npz") as file:
        arrays = dict(file) | changes
    np.savez(directory / "predictions.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=message) as error:
        read_results(directory)
    assert "\n" not in str(error.value)


def test_a_missing_file_says_what_writes_it(directory):
    (directory / "predictions.npz").unlink()
    with pytest.raises(InputError, match=r"predictions.npz: no such file; `medslip evaluate --out .*` writes it"):
        read_results(directory)
    with pytest.raises(InputError, match=r"predictions.npz: no such file; do this"):
        read_results(directory, missing="do this")


def sealed(directory):
    """The same results as `evaluate` leaves them."""
    write_metrics(directory, json.loads((directory / "metrics.json").read_text()))
    return directory


def test_what_is_written_is_sealed(directory):
    assert not read_results(directory).sealed
    found = read_results(sealed(directory))
    assert found.sealed
    assert write_metrics(directory, found.metrics) == found.metrics


def test_a_changed_number_is_noticed(directory):
    file = sealed(directory) / "metrics.json"
    file.write_text(file.read_text().replace('"hernia": {}', '"hernia": {"auroc": 0.99}'))
    with pytest.raises(InputError, match=r"metrics.json: not as it was written \(another sha256\); evaluate again$"):
        read_results(directory)


def test_changed_predictions_are_noticed(directory):
    file = sealed(directory) / "predictions.npz"
    arrays = dict(np.load(file))
    np.savez(file, **arrays | {"pathology": arrays["pathology"] + 1e-6})
    with pytest.raises(InputError, match=r"predictions.npz: not as it was written"):
        read_results(directory)


def test_a_seal_that_is_none(directory):
    file = directory / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sha256": 7}))
    with pytest.raises(InputError, match=r"metrics.json: not as it was written"):
        read_results(directory)


def test_files_without_a_seal_are_blamed_for_what_they_lack(directory):
    said = r"not as `medslip evaluate` writes it \(KeyError: 'auroc'\)"
    with pytest.raises(InputError, match=said), reading(read_results(directory)):
        raise KeyError("auroc")
    with pytest.raises(KeyError), reading(read_results(sealed(directory))):
        raise KeyError("auroc")
