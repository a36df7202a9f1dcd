import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import images, records
from medslip_jax.errors import InputError

JPEG = images.encode_grey(np.arange(64, dtype=np.uint8).reshape(8, 8))
PNG = images.encode_grey(np.zeros((8, 8), np.uint8), kind="png")


def make(**changes) -> dict:
    matrix, labels = np.full((51, 75), -1, np.int8), np.full(75, -1, np.int8)
    matrix[5, 8], matrix[4, 8], labels[8] = 1, 0, 1
    annotation = {"pathology": 8, "anatomy": 5, "box": np.array([0, 0.25, 0.5, 1], np.float32), "mask": PNG}
    return {
        "image": JPEG,
        "image_id": "a/1.jpg",
        "patient_id": "p1",
        "report": "Small effusion, naïve.",
        "matrix": matrix,
        "labels": labels,
        "annotations": [annotation, annotation | {"anatomy": -1, "mask": b""}],
    } | changes


def through_tfds(record: dict) -> dict:
    features = records.features()
    return records.decode(features.deserialize_example_np(serialized(record, features)))


def serialized(record: dict, features=None) -> bytes:
    features = features or records.features()
    return features.serialize_example(features.encode_example(records.encode(record)))


def test_round_trip_keeps_every_field():
    record = make()
    back = through_tfds(record)
    records.validate(back)
    assert {key: back[key] for key in ("image", "image_id", "patient_id", "report")} == {
        key: record[key] for key in ("image", "image_id", "patient_id", "report")
    }
    np.testing.assert_array_equal(back["matrix"], record["matrix"])
    np.testing.assert_array_equal(back["labels"], record["labels"])
    assert len(back["annotations"]) == 2
    for found, wanted in zip(back["annotations"], record["annotations"], strict=True):
        np.testing.assert_array_equal(found["box"], wanted["box"])
        assert [found[key] for key in ("pathology", "anatomy", "mask")] == [
            wanted[key] for key in ("pathology", "anatomy", "mask")
        ]


def test_round_trip_without_annotations():
    assert through_tfds(make(annotations=[]))["annotations"] == []


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_round_trip_of_any_matrix(seed):
    rng = np.random.default_rng(seed)
    record = make(matrix=rng.integers(-1, 2, (51, 75)).astype(np.int8), labels=rng.integers(-1, 2, 75).astype(np.int8))
    back = through_tfds(record)
    np.testing.assert_array_equal(back["matrix"], record["matrix"])
    np.testing.assert_array_equal(back["labels"], record["labels"])


def test_record_costs_few_bytes_beside_its_image():
    assert len(serialized(make(annotations=[]))) - len(JPEG) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": np.zeros((51, 74), np.int8)}, "matrix has shape (51, 74), expected (51, 75)"),
        ({"matrix": np.zeros((51, 75), np.int32)}, "matrix is int32, expected an int8 array"),
        ({"matrix": np.full((51, 75), 2, np.int8)}, "matrix has values 2 .. 2, expected only -1, 0 and 1"),
        ({"labels": np.zeros((1, 75), np.int8)}, "labels has shape (1, 75), expected (75,)"),
        ({"labels": [0] * 75}, "labels is list, expected an int8 array"),
        ({"image": b"GIF89a"}, "image is not the bytes of a JPEG or PNG file"),
        ({"patient_id": " "}, "patient_id is ' ', expected non-empty text"),
        ({"report": None}, "report is None, expected text"),
        ({"extra": 1}, "keys are ['annotations', 'extra'"),
    ],
)
def test_one_line_names_record_and_field(changes, message):
    with pytest.raises(InputError) as caught:
        records.encode(make(**changes))
    assert str(caught.value).startswith("record image_id=a/1.jpg: " + message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pathology": 75}, "annotation 0 has pathology 75, expected -1 .. 74"),
        ({"pathology": -1, "anatomy": -1}, "annotation 0 names neither a pathology nor an anatomy"),
        ({"anatomy": -2}, "annotation 0 has anatomy -2, expected -1 .. 50"),
        ({"box": [0, 0, 1.5, 1]}, "annotation 0 has box [0.0, 0.0, 1.5, 1.0]"),
        ({"box": [0.5, 0, 0.5, 1]}, "annotation 0 has box [0.5, 0.0, 0.5, 1.0]"),
        ({"box": [0, 0, float("nan"), 1]}, "annotation 0 has box [0.0, 0.0, nan, 1.0]"),
        ({"mask": JPEG}, "annotation 0 has a mask that is not the bytes of a PNG"),
        ({"side": "left"}, "annotation 0 has keys"),
    ],
)
def test_annotations_are_checked(changes, message):
    annotation = {"pathology": 8, "anatomy": 5, "box": np.array([0, 0, 1, 1], np.float32), "mask": b""}
    with pytest.raises(InputError) as caught:
        records.validate(make(annotations=[annotation | changes]))
    assert message in str(caught.value)


def test_damaged_bytes_on_disk_are_named():
    example = records.features().deserialize_example_np(serialized(make()))
    with pytest.raises(InputError, match=r"image_id=a/1.jpg: matrix cannot be read"):
        records.decode(example | {"matrix": b"\0"})
    with pytest.raises(InputError, match=r"image_id=a/1.jpg: labels has 74 entries, expected 75"):
        records.decode(example | {"labels": bytes(74)})


def test_no_tensorflow():
    serialized(make())
    assert "tensorflow" not in sys.modules
