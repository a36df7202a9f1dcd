"""The page of `medslip data show`: its counts by hand on three records, and what it must never let through."""

import dataclasses
import re

import numpy as np
import pytest

from data_pipelines import images, records
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.contents import contents_of, count
from data_pipelines.datasets.phantom import PhantomOptions
from medslip_jax.report.contents.cards import card, evenly_spaced
from medslip_jax.report.contents.charts import bar, heat_map
from medslip_jax.report.contents.page import page
from medslip_jax.vocabulary import ANATOMIES, anatomy_index, pathology_index

EFFUSION, MASS, EDEMA = map(pathology_index, ("effusion", "mass", "edema"))
LUNG, HEART = map(anatomy_index, ("left_lung_unspec", "heart_size"))
EVIL = '<script>alert(1)</script><img src="http://evil/x.png" onerror=alert(2)> "quoted" & ended'


def record(name: str, *, labels=(), matrix=(), **changes) -> dict:
    """A record from (class, value) and (anatomy, class, value)."""
    truth = np.full(records.LABELS_SHAPE, -1, np.int8)
    for pathology, value in labels:
        truth[pathology] = value
    said = np.full(records.MATRIX_SHAPE, -1, np.int8)
    for anatomy, pathology, value in matrix:
        said[anatomy, pathology] = value
    picture = images.encode_grey(np.full((20, 30), 90, np.uint8), kind="png")
    return {
        "image": picture,
        "image_id": name,
        "patient_id": "p",
        "report": "",
        "matrix": said,
        "labels": truth,
        "annotations": [],
    } | changes


def box(pathology: int, *, mask: bytes = b"", anatomy: int = -1) -> dict:
    return {
        "pathology": pathology,
        "anatomy": anatomy,
        "box": np.array([0.1, 0.2, 0.5, 0.6], np.float32),
        "mask": mask,
    }


THREE = [
    record(
        "a",
        labels=[(EFFUSION, 1), (MASS, 1), (EDEMA, 0)],
        matrix=[(LUNG, EFFUSION, 1), (HEART, EFFUSION, 0), (HEART, EDEMA, 0)],
        report="Effusion.",
        annotations=[box(EFFUSION), box(MASS)],
    ),
    record("b", labels=[(EFFUSION, 1), (MASS, 0)], matrix=[(LUNG, EFFUSION, 1), (LUNG, MASS, 1)]),
    record("c", labels=[(EFFUSION, 0)], patient_id="q", targets={"covid": 1}),
]


def test_counts_by_hand():
    found = count(THREE)
    assert (found.records, found.patients, found.with_report, found.with_box, found.with_mask) == (3, 2, 1, 1, 0)
    assert found.with_anatomy == 0
    regions = count([record("a", annotations=[box(-1, anatomy=LUNG, mask=b"mask")]), THREE[0]])
    assert (regions.with_box, regions.with_mask, regions.with_anatomy) == (1, 0, 1)
    assert found.labels[EFFUSION].tolist() == [2, 1, 0]
    assert found.labels[MASS].tolist() == [1, 1, 1]
    assert found.labels[EDEMA].tolist() == [0, 1, 2]
    assert found.mentions[EFFUSION].tolist() == [2, 0, 1]  # said of the lung, denied of the heart: present
    assert found.mentions[EDEMA].tolist() == [0, 1, 2]
    assert found.places[LUNG].tolist() == [2, 0, 1]
    assert found.places[HEART].tolist() == [0, 1, 2]
    assert found.together[np.ix_([EFFUSION, MASS], [EFFUSION, MASS])].tolist() == [[2, 1], [1, 1]]
    assert found.together.sum() == 5
    assert found.pairs[LUNG, EFFUSION] == 2 and found.pairs[LUNG, MASS] == 1 and found.pairs.sum() == 3
    assert found.targets == {"covid": (1, 0, 0)}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("contents")
    build("phantom", out=out, options=PhantomOptions(train=7, validation=1, test=2, size=64), workers=1)
    return out / "phantom"


def test_page_of_a_built_data_set(built):
    text = page(contents_of(built))
    assert "<h1>phantom 1.0.0</h1>" in text
    assert '<td class="name">train</td><td class="n">7</td><td class="n">7</td>' in text
    assert text.count('<article class="card">') == 6 + 1 + 2
    assert "<dt>size</dt><dd>64</dd>" in text
    for title in ("Left out", "Pathologies", "Anatomies", "Pathologies that occur together", "Samples"):
        assert f"<h2>{title}</h2>" in text
    assert "phantom-train-0" in text and "phantom-train-6" in text  # the first and the last


def test_page_asks_nothing_of_the_network(built):
    text = page(contents_of(built))
    assert not re.search(r"https?://|//[a-z]|@import|url\(|<link|<script|<iframe", text)
    assert set(re.findall(r'(?:src|href)="(.{5})', text)) == {"data:"}
    assert "default-src 'none'" in text and 'name="viewport"' in text


def test_text_from_the_data_is_escaped():
    text = card(record(EVIL, report=EVIL, patient_id=EVIL, targets={EVIL: 1}), split=EVIL, number=0)
    assert "<script" not in text and '<img src="http' not in text and text.count("<img") == 1
    assert text.count("&lt;script&gt;") == 6  # split, image, patient, target, report, alternative text
    drawn = heat_map(np.ones((1, 1), int), np.ones((1, 1)), rows=[EVIL], columns=[EVIL], title=EVIL)
    assert "<script" not in drawn and drawn.count("&lt;script&gt;") == 3


def test_lists_beside_the_records_are_escaped(built):
    contents = dataclasses.replace(
        contents_of(built),
        info={"name": EVIL, "version": EVIL, "description": EVIL},
        metadata={EVIL: [EVIL], "text": EVIL},
        drops=[{"row": 3, "file": EVIL, "kind": EVIL, "reason": EVIL}] * 2,
        notes=[EVIL] * 25,
    )
    text = page(contents)
    assert "<script" not in text and "onerror" not in re.sub(r"&lt;.*?&gt;", "", text)
    assert '<td class="n">2</td>' in text and "and 5 more" in text


def test_data_set_without_labels_boxes_or_reports(built):
    plain = count([record("a"), record("b")])
    assert plain.labels[:, 2].tolist() == [2] * 75 and plain.pairs.sum() == 0
    text = page(dataclasses.replace(contents_of(built), splits={"train": plain}, metadata={}))
    assert "Pathologies that occur together" not in text and "Options" not in text
    assert text.count("Never stated: ") == 2
    assert "<figure>" in card(record("a"), split="train", number=0)


def test_drawing_of_boxes_and_masks():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 3:9] = 255
    marked = box(EFFUSION, mask=images.encode_grey(mask, kind="png"), anatomy=LUNG)
    both = [marked, box(MASS), box(EDEMA)]  # the last two are one box in the picture
    text = card(record("a", annotations=both), split="train", number=4)
    assert text.count('<rect x="100" y="200" width="400" height="400"') == 2
    # Centres of pixels 3 .. 8 of 30 and 5 .. 9 of 20, in thousandths.
    assert 'd="M117 275L117 475L283 475L283 275Z"' in text
    assert (
        "effusion (left_lung_unspec)</li>" in text and ">mass + edema</li>" in text and 'width="30" height="20"' in text
    )
    moved = [annotation | {"box": annotation["box"] + np.float32(0.1)} for annotation in both[1:]]
    assert "mass + edema (2 times)" in card(record("a", annotations=[*both, *moved]), split="train", number=4)
    colours = re.findall(r'<li><b style="background:(#\w+)"', text)
    assert len(set(colours)) == 2


def test_marked_anatomies_are_dotted_outlines_below_the_findings():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 3:9] = 255
    lung, heart = box(-1, mask=images.encode_grey(mask, kind="mask"), anatomy=LUNG), box(-1, anatomy=HEART)
    text = card(record("a", annotations=[box(EFFUSION), lung, heart]), split="train", number=4)
    assert text.count("<rect ") == 1 and text.count("stroke-dasharray") == 2
    assert 'd="M117 275L117 475L283 475L283 275Z"' in text and 'd="M100 200L500 200L500 600L100 600Z"' in text
    assert text.index("stroke-dasharray") < text.index("<rect ")
    assert f"<b>dotted outlines</b> {ANATOMIES[LUNG]}, {ANATOMIES[HEART]}</p>" in text
    assert text.count("<li>") == 1


def test_bar_and_shades():
    assert re.findall(r"width:([\d.]+)%", bar((1, 2, 5))) == ["12.50", "25.00", "62.50"]
    assert 'title="0 present, 0 absent, 0 unknown"' in bar((0, 0, 0))
    drawn = heat_map(np.array([[3, 0, 12_345]]), np.array([[0.0, 0.5, 1.0]]), rows=["r"], columns=list("abc"), title="")
    assert re.findall(r"<td[^<]*</td>", drawn)[1:] == [
        '<td style="background:#f0f5fb">3</td>',
        "<td></td>",
        '<td style="background:#0b4a8f;color:#fff">12k</td>',
    ]


@pytest.mark.parametrize(
    ("length", "count_", "expected"), [(9, 3, [0, 4, 8]), (2, 6, [0, 1]), (1, 6, [0]), (300, 2, [0, 299])]
)
def test_evenly_spaced(length, count_, expected):
    assert evenly_spaced(length, count_) == expected
