"""The cards of the gallery: boxes, maps in their places, the decision, and a report that is hostile."""

import base64
import re

import cv2
import numpy as np

from data_pipelines import images, records
from medslip_jax.report.run.cases import Choice
from medslip_jax.report.run.gallery import case_of, gallery
from medslip_jax.vocabulary import pathology_index

MASS = pathology_index("mass")
EVIL = '<script>alert(1)</script><img src="http://evil/x.png" onerror=alert(2)>'


def choice(**changes) -> Choice:
    fields = {"kind": "miss", "name": "mass", "section": "pathology", "row": 1, "probability": 0.25, "threshold": 0.5}
    return Choice(**fields | {"source": "validation"} | changes)


def record(**changes) -> dict:
    labels = np.full(records.LABELS_SHAPE, -1, np.int8)
    labels[MASS] = 1
    box = {"pathology": MASS, "anatomy": -1, "box": np.array([0.1, 0.2, 0.5, 0.6]), "mask": b"never drawn"}
    other = box | {"pathology": pathology_index("edema"), "box": np.array([0.7, 0.7, 0.8, 0.8])}
    return {
        "image": images.encode_grey(np.full((64, 64), 60, np.uint8), kind="png"),
        "image_id": "one",
        "patient_id": "p",
        "report": "A mass.",
        "labels": labels,
        "annotations": [box, other],
    } | changes


def maps() -> dict:
    """Of image 1 the mass map has all its weight in row 0, column 3 of 4 x 4, the anatomy map in row 3, column 0."""
    pathology, anatomy = np.zeros((2, 1, 16), np.float32), np.zeros((2, 16), np.float32)
    pathology[1, 0, 3] = anatomy[1, 12] = 1
    return {"map_names": np.array(["mass"]), "pathology_map": pathology, "anatomy_map": anatomy}


def pictures(text: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in found]


def test_maps_lie_where_they_belong():
    plain, mass, anatomy = pictures(gallery([case_of(choice(), record(), maps())]))
    assert plain.shape == mass.shape == (64, 64, 3) and abs(plain.astype(int) - 60).max() < 4
    red = [picture[..., 2].astype(int) - picture[..., 0] for picture in (mass, anatomy)]
    # Cell (0, 3) of a stride of 16 looks at pixel (0, 48), cell (3, 0) at (48, 0).
    assert red[0][2, 50] > 100 and red[0][50, 2] < 10 and red[0][2, 2] < 10
    assert red[1][50, 2] > 100 and red[1][2, 50] < 10
    assert np.unravel_index(red[0].argmax(), (64, 64))[0] < 16


def test_boxes_of_the_class_and_the_decision():
    text = gallery([case_of(choice(), record(), maps())])
    assert text.count('<rect x="100" y="200" width="400" height="400"') == 3 and "700" not in re.sub(
        r"base64,[^\"]*", "", text
    )
    assert "probability 0.250 ≤ threshold 0.500 (validation); label: present" in text
    assert "width:25.0%" in text and "left:50.0%" in text
    assert "mass: miss" in text and "patient p; all present labels: mass" in text
    assert "Rule. Queries" in text and "<blockquote>A mass.</blockquote>" in text


def test_without_maps_boxes_or_report():
    text = gallery([case_of(choice(), record(annotations=[], report=" "), {})])
    assert len(pictures(text)) == 1 and "<rect" not in text and "No report." in text


def test_a_query_given_as_text_has_no_map_of_its_own():
    """Not even under the name of a class that has one; the truth of its name's class and the boxes stay."""
    text = gallery([case_of(choice(section="targets"), record(), maps())])
    assert len(pictures(text)) == 2 and "mass map" not in text and "anatomy map" in text
    assert text.count("<rect") == 2 and "label: present" in text
    unknown = gallery([case_of(choice(section="targets", name="covid19", kind="false positive"), record(), maps())])
    assert "covid19: false positive" in unknown and "label: absent" in unknown and "<rect" not in unknown


def test_long_and_hostile_reports():
    hostile = record(report=EVIL * 9, image_id=EVIL, patient_id=EVIL)
    text = gallery([case_of(choice(name=EVIL, kind=EVIL), hostile, {})])
    assert "<script" not in text and 'src="http' not in text and text.count("<img") == 1
    assert "<details><summary>Report: &lt;script" in text
