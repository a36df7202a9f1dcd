import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from dicom_files import dicom_bytes
from folder_csv import OPTIONS, entries, make_options, named, row_record, rows_of, write, xrays_of
from places import CONFIGS, SHARED

from data_pipelines import images, records
from data_pipelines.datasets import open_split
from data_pipelines.datasets.builders import options_of
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.folder_rows import read_rows
from data_pipelines.datasets.shared.xray import labels_of, matrix_of, report_matrix
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import PATHOLOGIES, anatomy_index

SAMPLE = SHARED / "cxr_sample"
CONFIG = CONFIGS / "folder_cxr_sample.json"


def test_labels_without_text_give_a_label_only_matrix(tmp_path):
    (row,) = xrays_of(tmp_path, [{"file": "a.png", "findings": "Infiltration|Pneumonia"}])
    expected = {"infiltrate": 1, "pneumonia": 1}
    assert named(labels_of(row, [])) == expected
    assert entries(matrix_of(row, [])) == {("unspecified", name): value for name, value in expected.items()}


def test_class_annotated_everywhere_is_absent_where_it_is_not_listed(tmp_path):
    (row,) = xrays_of(tmp_path, [{"file": "a.png", "findings": "Infiltration|Pneumonia", "origin": "NIH"}])
    expected = {"infiltrate": 1, "pneumonia": 1, "effusion": 0, "nodule": 0}
    assert named(labels_of(row, [])) == expected
    assert entries(matrix_of(row, [])) == {("unspecified", name): value for name, value in expected.items()}


def test_no_finding_makes_the_mapped_classes_absent(tmp_path):
    nih, other = xrays_of(
        tmp_path,
        [
            {"file": "a.png", "findings": "No Finding", "origin": "NIH"},
            {"file": "b.png", "findings": "No Finding"},
        ],
    )
    assert named(labels_of(nih, [])) == {"effusion": 0, "infiltrate": 0, "nodule": 0}
    assert named(labels_of(other, [])) == dict.fromkeys(["effusion", "infiltrate", "nodule", "opacity", "pneumonia"], 0)


def test_text_alone_gives_matrix_and_truth(tmp_path):
    (row,) = xrays_of(tmp_path, [{"file": "a.png", "findings": "", "text": "Left pleural effusion. No pneumothorax."}])
    assert entries(matrix_of(row, []))[("left_pleural", "effusion")] == 1
    truth = named(labels_of(row, []))
    assert truth["effusion"] == 1 and truth["pneumothorax"] == 0


def test_labels_fill_what_the_text_does_not_mention(tmp_path):
    cells = {"file": "a.png", "text": "Left pleural effusion.", "findings": "Infiltration", "origin": "NIH"}
    (row,) = xrays_of(tmp_path, [cells])
    found = entries(matrix_of(row, []))
    assert found[("left_pleural", "effusion")] == 1
    assert ("unspecified", "effusion") not in found  # the label says absent, the text has the last word
    assert found[("unspecified", "infiltrate")] == 1 and found[("unspecified", "nodule")] == 0
    assert named(labels_of(row, [])) == {"infiltrate": 1, "effusion": 0, "nodule": 0}  # truth: labels only


def test_presence_of_a_label_beats_a_denial_but_not_the_place_of_the_text(tmp_path):
    text = "Right effusion. No left effusion. No left nodule. No mass."
    cells = {"file": "a.png", "text": text, "findings": "Effusion|Nodule|Mass"}
    (row,) = xrays_of(tmp_path, [cells])
    said = entries(report_matrix(text))
    assert [said[("unspecified", "mass")], {value for (_, name), value in said.items() if name == "nodule"}] == [0, {0}]
    assert entries(matrix_of(row, [])) == said | {("unspecified", "nodule"): 1, ("unspecified", "mass"): 1}
    assert (matrix_of(row, []).max(axis=0) == labels_of(row, [])).all()


def test_ignored_labels_are_no_labels(tmp_path):
    cells = {"file": "a.png", "text": "No pneumothorax.", "findings": "Left Lung", "origin": "NIH"}
    (row,) = xrays_of(tmp_path, [cells])
    assert not row.has_labels and named(labels_of(row, [])) == {"pneumothorax": 0}
    (row,) = xrays_of(tmp_path, [{"file": "a.png", "findings": "Left Lung|No Finding", "origin": "NIH"}])
    assert row.has_labels and named(labels_of(row, [])) == {"effusion": 0, "infiltrate": 0, "nodule": 0}


def test_boxes_and_masks_become_annotations(tmp_path):
    mask = np.zeros((80, 100), np.uint8)
    mask[38:60, 10:30] = 127  # an edge that JPEG blurred
    mask[40:60, 10:30] = 255
    (tmp_path / "m.png").write_bytes(images.encode_grey(mask, kind="png"))
    (tmp_path / "none.png").write_bytes(images.encode_grey(mask * 0, kind="png"))
    boxes = [
        {"label": "Effusion", "x": 50, "y": 20, "w": 60, "h": 40},
        {"label": "Left Lung", "x": 0, "y": 0, "w": 9, "h": 9},
    ]
    masks = [{"label": "Opacities", "file": "m.png"}, {"label": "Nodule", "file": "none.png"}]
    (row,) = rows_of(
        tmp_path,
        [
            {
                "file": "a.png",
                "findings": "",
                "text": "",
                "boxes": json.dumps(boxes),
                "masks": json.dumps(masks),
            }
        ],
    )
    record = row_record(row, root=tmp_path, options=make_options())
    effusion, opacity, pneumonia = record["annotations"]
    np.testing.assert_allclose(effusion["box"], [0.5, 0.25, 1.0, 0.75])  # cut at the right edge
    np.testing.assert_allclose(opacity["box"], [0.1, 0.5, 0.3, 0.75])
    assert [PATHOLOGIES[entry["pathology"]] for entry in record["annotations"]] == [
        "effusion",
        "opacity",
        "pneumonia",
    ]
    assert effusion["mask"] == b"" and pneumonia["mask"] == opacity["mask"]
    stored = images.decode_grey(opacity["mask"], name="mask")
    assert stored.shape == images.decode_grey(record["image"], name="image").shape == (64, 80)
    assert (stored > 0).mean() == pytest.approx(0.05, abs=0.005) and set(np.unique(stored)) == {0, 255}
    assert named(record["labels"]) == {"effusion": 1, "opacity": 1, "pneumonia": 1}


def test_a_marked_anatomy_is_an_annotation_and_no_finding(tmp_path):
    mask = np.zeros((80, 100), np.uint8)
    mask[40:60, 10:30] = 255
    (tmp_path / "m.png").write_bytes(images.encode_grey(mask, kind="png"))
    lungs = [{"label": "Right Lung", "file": "m.png"}, {"label": "Lungs", "file": "m.png"}]
    cells = {
        "file": "a.png",
        "findings": "Right Lung|Nodule",
        "origin": "NIH",
        "masks": json.dumps(lungs),
        "boxes": json.dumps([{"label": "Right Lung", "x": 0, "y": 0, "w": 50, "h": 80}]),
    }
    anatomy_map = {"Right Lung": "right_lung_unspec", "Lungs": ["left_lung_unspec", "right_lung_unspec"]}
    changes = {"ignored_labels": [], "anatomy_map": anatomy_map}
    (row,) = rows_of(tmp_path, [cells], **changes)
    record = row_record(row, root=tmp_path, options=make_options(**changes))
    left, right = anatomy_index("left_lung_unspec"), anatomy_index("right_lung_unspec")
    found = [(entry["pathology"], entry["anatomy"], bool(entry["mask"])) for entry in record["annotations"]]
    assert found == [(-1, right, False), (-1, right, True), (-1, left, True), (-1, right, True)]
    assert named(record["labels"]) == {"effusion": 0, "infiltrate": 0, "nodule": 1}
    assert (record["matrix"][[left, right]] == -1).all()
    records.validate(record)


def test_an_image_with_only_a_marked_anatomy_has_no_labels(tmp_path):
    masks = json.dumps([{"label": "Right Lung", "file": "m.png"}])
    (tmp_path / "m.png").write_bytes(images.encode_grey(np.full((80, 100), 255, np.uint8), kind="png"))
    changes = {"anatomy_map": {"Right Lung": "right_lung_unspec"}}
    (row,) = rows_of(tmp_path, [{"file": "a.png", "findings": "", "masks": masks}], **changes)
    record = row_record(row, root=tmp_path, options=make_options(**changes))
    assert len(record["annotations"]) == 1 and (record["labels"] == -1).all() and (record["matrix"] == -1).all()


@pytest.fixture
def broken(tmp_path):
    write(
        tmp_path,
        [{"file": f"{i}.png", "split": split} for i, split in enumerate(["train", "train", "val", "train"])],
    )
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "3.png").unlink()
    return tmp_path


def test_unreadable_images_are_counted_and_listed(broken):
    report = build("folder", out=broken / "out", root=broken, options=make_options(), policy="skip", workers=1)
    assert report["splits"] == {"train": 1, "validation": 1}
    assert [(drop["row"], drop["file"]) for drop in report["drops"]] == [(3, "1.png"), (5, "3.png")]
    assert "not a readable" in report["drops"][0]["reason"] and "No such file" in report["drops"][1]["reason"]
    assert json.loads((Path(report["directory"]) / "drops.json").read_text()) == report["drops"]
    record = open_split(broken / "out", "folder", "train")[0]
    assert record["image_id"] == "0.png" and record["patient_id"] == "p0"


def test_unreadable_image_can_fail_the_build(broken):
    with pytest.raises(InputError, match=r"labels.csv: row 3: .*1.png: not a readable .*policy skip"):
        build("folder", out=broken / "out", root=broken, options=make_options(), policy="fail", workers=1)
    assert [path.name for path in (broken / "out").iterdir()] == [".folder-building"]  # what the next run goes on with
    (broken / "1.png").write_bytes((broken / "0.png").read_bytes())
    (broken / "3.png").write_bytes((broken / "0.png").read_bytes())
    report = build("folder", out=broken / "out", root=broken, options=make_options(), policy="fail", workers=1)
    assert report["splits"] == {"train": 3, "validation": 1}


def test_split_without_a_readable_image_is_named(broken):
    (broken / "2.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"labels.csv: split validation: all 1 rows were dropped, the first: .*empty"):
        build("folder", out=broken / "out", root=broken, options=make_options(), policy="skip", workers=1)


def test_no_row_left_is_named(tmp_path):
    write(tmp_path, [{"file": "a.png", "view": "LATERAL"}])
    with pytest.raises(InputError, match="all 1 rows were dropped, the first: view 'LATERAL'"):
        build("folder", out=tmp_path / "out", root=tmp_path, options=make_options(views=["PA"]), workers=1)


@pytest.mark.parametrize("error", [cv2.error("bad\nsize"), MemoryError(), ValueError("odd")])
def test_whatever_one_image_causes_is_a_drop(broken, monkeypatch, error):
    read = images.read_image

    def read_or_fail(data, *, name, policy):
        if name.endswith("3.png"):
            raise error
        return read(data, name=name, policy=policy)

    (broken / "3.png").write_bytes((broken / "0.png").read_bytes())
    monkeypatch.setattr(images, "read_image", read_or_fail)
    report = build("folder", out=broken / "out", root=broken, options=make_options(), policy="skip", workers=1)
    reason = report["drops"][1]["reason"]
    assert report["splits"] == {"train": 1, "validation": 1}
    assert reason.startswith(f"{broken / '3.png'}: ") and "\n" not in reason
    assert {"error": "bad size", "MemoryError": "no message", "ValueError": "odd"}[type(error).__name__] in reason


def test_a_strip_is_a_drop(broken):
    (broken / "3.png").write_bytes(images.encode_grey(np.zeros((2, 1000), np.uint8), kind="png"))
    report = build("folder", out=broken / "out", root=broken, options=make_options(), policy="skip", workers=1)
    assert report["drops"][1]["reason"] == "image of 1000 x 2 pixels: one side is over 16 times the other; crop it"


def test_same_file_in_two_splits_is_noted(tmp_path):
    names = {"a.png": "train", "b.png": "train", "c.png": "test", "d.png": "test"}
    write(tmp_path, [{"file": name, "split": split} for name, split in names.items()])
    for copy in ("b.png", "d.png"):  # the first stays within its split
        (tmp_path / copy).write_bytes((tmp_path / "a.png").read_bytes())
    report = build("folder", out=tmp_path / "out", root=tmp_path, options=make_options(), workers=1)
    assert report["notes"] == ["labels.csv: row 5: d.png in test is the same file as a.png in train (row 2)"]
    assert json.loads((Path(report["directory"]) / "notes.json").read_text()) == report["notes"]


@pytest.mark.parametrize(
    ("extra", "fractions", "noted"),
    [
        ({}, {"train": 0.5, "test": 0.5}, True),
        ({}, {"train": 1.0}, False),
        ({"patient": "patient"}, {"train": 0.5, "test": 0.5}, False),
    ],
)
def test_splits_by_image_are_noted(tmp_path, extra, fractions, noted):
    write(tmp_path, [{"file": f"{i}.png"} for i in range(8)])
    options = make_options(columns={"image": "file", "labels": "findings"} | extra, split_fractions=fractions)
    report = build("folder", out=tmp_path / "out", root=tmp_path, options=options, workers=1)
    assert ["images of one patient may be in two splits" in note for note in report["notes"]] == [True] * noted


def test_result_does_not_depend_on_workers(broken):
    reports = [
        build("folder", out=broken / f"out{n}", root=broken, options=make_options(), policy="skip", workers=n)
        for n in (1, 2)
    ]
    assert reports[0]["drops"] == reports[1]["drops"]
    files = [sorted(Path(report["directory"]).glob("*array_record*")) for report in reports]
    assert len(files[0]) == 2
    for one, two in zip(*files, strict=True):
        assert one.name == two.name and one.read_bytes() == two.read_bytes()


def test_unwanted_views_are_listed_too(tmp_path):
    write(tmp_path, [{"file": "a.png", "view": "PA"}, {"file": "b.png", "view": "LATERAL"}])
    report = build("folder", out=tmp_path / "out", root=tmp_path, options=make_options(views=["PA", "AP"]), workers=1)
    assert report["splits"] == {"train": 1}
    (drop,) = report["drops"]
    assert (drop["row"], drop["file"], drop["kind"]) == (3, "b.png", "other view")
    assert drop["reason"] == "view 'LATERAL' is not in views"


def test_mask_and_box_must_fit_the_image(tmp_path):
    (tmp_path / "m.png").write_bytes(images.encode_grey(np.zeros((8, 8), np.uint8), kind="png"))
    outside = [{"label": "Effusion", "x": 100, "y": 0, "w": 5, "h": 5}]
    first, second = rows_of(
        tmp_path,
        [
            {"file": "a.png", "masks": '[{"label": "Effusion", "file": "m.png"}]'},
            {"file": "b.png", "boxes": json.dumps(outside)},
        ],
    )
    with pytest.raises(InputError, match=r"m.png: mask of shape \(8, 8\), its image has \(80, 100\)"):
        row_record(first, root=tmp_path, options=make_options())
    (tmp_path / "m.png").write_bytes(images.encode_grey(np.ones((80, 100), np.uint8), kind="png"))
    with pytest.raises(InputError, match=r"m.png: mask values end at 1; expected 0 and 255"):
        row_record(first, root=tmp_path, options=make_options())
    with pytest.raises(InputError, match="lies outside the image of 100 x 80 pixels"):
        row_record(second, root=tmp_path, options=make_options())


@pytest.mark.real
@pytest.mark.skipif(not SAMPLE.exists(), reason="the real X-rays of ../shared are not here")
def test_rows_of_the_real_sample():
    options = options_of("folder", file=CONFIG, given={})
    rows = read_rows(SAMPLE / "labels.csv", options)
    splits = [row.split for row in rows]
    assert [splits.count(split) for split in ("train", "validation", "test")] == [432, 63, 105]
    # NIH states 14 classes, for RSNA's 90 negatives "opacity" too; three rows elsewhere say "No Finding".
    sizes = [len(row.annotated) for row in rows]
    assert [sizes.count(14), sizes.count(15), sizes.count(0)] == [290, 93, 217]
    record = row_record(rows[0], root=SAMPLE, options=options)
    truth = named(record["labels"])
    assert {name for name, value in truth.items() if value} == {
        "edema", "effusion", "infiltrate", "thicken", "pneumonia", "opacity"
    }  # fmt: skip
    assert len(truth) == 15 and record["matrix"][anatomy_index("unspecified")].max() == 1
    np.testing.assert_allclose(record["annotations"][0]["box"], np.array([86, 243.5, 236, 372.5]) / 512)


def test_folder_whose_name_is_not_utf_8(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    root.mkdir()
    write(root, [{"file": "a.png"}, {"file": "b.png"}])
    (root / "b.png").write_bytes(b"no image")
    report = build("folder", out=tmp_path / "out", root=root, options=make_options(), policy="skip", workers=1)
    assert report["splits"] == {"train": 1}
    (drop,) = report["drops"]
    assert "caf\\xe9/b.png: not a readable" in drop["reason"]
    assert (Path(report["directory"]) / "manifest.csv").read_text(encoding="utf-8").count("\n") == 3


def test_flags_lie_on_top_of_the_image_option(tmp_path):
    write(tmp_path, [{"file": "a.png"}])
    options = tmp_path / "options.json"
    options.write_text(json.dumps({**OPTIONS, "image": {"resize": "squash", "polarity": "as_stored"}}))
    command = ["data", "build", "folder", f"--root={tmp_path}", f"--options={options}", f"--out={tmp_path / 'out'}"]
    assert main.main([*command, "--workers=1", "--polarity=inverted"]) == 0
    metadata = json.loads((tmp_path / "out" / "folder" / "1.0.0" / "metadata.json").read_text())
    assert metadata["image"] == {"resize": "squash", "polarity": "inverted"}
    assert main.main(["data", "build", "phantom", f"--out={tmp_path / 'p'}", "--voi=none"]) == 2


def test_notes_of_a_reading_name_its_row_and_file(tmp_path):
    write(tmp_path, [{"file": "a.png"}, {"file": "b.dcm"}])
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint16)
    data = dicom_bytes(pixels, BitsStored=8, WindowCenter=5, WindowWidth=0)
    (tmp_path / "b.dcm").write_bytes(data)
    report = build("folder", out=tmp_path / "out", root=tmp_path, options=make_options(), workers=1)
    (note,) = [note for note in report["notes"] if "b.dcm" in note and "window" in note]
    assert note.startswith("row 3: b.dcm: window of center '5.0', width '0.0' leaves no image: read without a window")
