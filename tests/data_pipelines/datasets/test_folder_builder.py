import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import images
from data_pipelines.datasets import open_split
from data_pipelines.datasets.build import build
from data_pipelines.datasets.folder import labels_of, matrix_of, row_record
from data_pipelines.datasets.folder_options import FolderOptions, read_options
from data_pipelines.datasets.folder_rows import read_rows, split_of
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES, anatomy_index, pathology_index

SAMPLE = Path(__file__).parents[4] / "shared" / "cxr_sample"
CONFIG = Path(__file__).parents[3] / "configs" / "folder_cxr_sample.json"
HEADER = ("file", "text", "findings", "split", "patient", "boxes", "masks", "view", "origin")
OPTIONS = {
    "columns": {
        "image": "file",
        "report": "text",
        "labels": "findings",
        "split": "split",
        "patient": "patient",
        "boxes": "boxes",
        "masks": "masks",
        "view": "view",
    },
    "label_map": {"Infiltration": "infiltrate", "Opacities": ["opacity", "pneumonia"]},
    "ignored_labels": ["Left Lung"],
    "annotated_everywhere": [{"where": {"origin": "NIH"}, "classes": ["Effusion", "Infiltration", "nodule"]}],
    "size": 64,
}


def make_options(**changes) -> FolderOptions:
    return FolderOptions(**(OPTIONS | changes))


def write(root: Path, rows: list[dict], header=HEADER) -> Path:
    """A CSV with those rows, every image a 80 x 100 ramp that differs a little from the next."""
    path = root / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(
            [{"split": "train", "findings": "Effusion", "patient": f"p{i}"} | row for i, row in enumerate(rows)]
        )
    for number, row in enumerate(rows):
        ramp = np.tile(np.arange(100, dtype=np.uint8) + number, (80, 1))
        if row["file"] and not (root / row["file"]).exists():
            (root / row["file"]).write_bytes(images.encode_grey(ramp, kind="png"))
    return path


def rows_of(root: Path, rows: list[dict], **changes):
    return read_rows(write(root, rows), make_options(**changes))


def named(vector: np.ndarray) -> dict:
    return {PATHOLOGIES[i]: int(vector[i]) for i in np.flatnonzero(vector >= 0)}


def entries(matrix: np.ndarray) -> dict:
    return {(ANATOMIES[a], PATHOLOGIES[p]): int(matrix[a, p]) for a, p in zip(*np.nonzero(matrix >= 0), strict=True)}


def test_labels_without_text_give_a_label_only_matrix(tmp_path):
    (row,) = rows_of(tmp_path, [{"file": "a.png", "findings": "Infiltration|Pneumonia"}])
    expected = {"infiltrate": 1, "pneumonia": 1}
    assert named(labels_of(row, [])) == expected
    assert entries(matrix_of(row, [])) == {("unspecified", name): value for name, value in expected.items()}


def test_class_annotated_everywhere_is_absent_where_it_is_not_listed(tmp_path):
    (row,) = rows_of(tmp_path, [{"file": "a.png", "findings": "Infiltration|Pneumonia", "origin": "NIH"}])
    expected = {"infiltrate": 1, "pneumonia": 1, "effusion": 0, "nodule": 0}
    assert named(labels_of(row, [])) == expected
    assert entries(matrix_of(row, [])) == {("unspecified", name): value for name, value in expected.items()}


def test_no_finding_makes_the_mapped_classes_absent(tmp_path):
    nih, other = rows_of(
        tmp_path,
        [
            {"file": "a.png", "findings": "No Finding", "origin": "NIH"},
            {"file": "b.png", "findings": "No Finding"},
        ],
    )
    assert named(labels_of(nih, [])) == {"effusion": 0, "infiltrate": 0, "nodule": 0}
    assert named(labels_of(other, [])) == dict.fromkeys(["effusion", "infiltrate", "nodule", "opacity", "pneumonia"], 0)


def test_text_alone_gives_matrix_and_truth(tmp_path):
    (row,) = rows_of(tmp_path, [{"file": "a.png", "findings": "", "text": "Left pleural effusion. No pneumothorax."}])
    assert entries(matrix_of(row, []))[("left_pleural", "effusion")] == 1
    truth = named(labels_of(row, []))
    assert truth["effusion"] == 1 and truth["pneumothorax"] == 0


def test_labels_fill_what_the_text_does_not_mention(tmp_path):
    cells = {"file": "a.png", "text": "Left pleural effusion.", "findings": "Infiltration", "origin": "NIH"}
    (row,) = rows_of(tmp_path, [cells])
    found = entries(matrix_of(row, []))
    assert found[("left_pleural", "effusion")] == 1
    assert ("unspecified", "effusion") not in found  # the label says absent, the text has the last word
    assert found[("unspecified", "infiltrate")] == 1 and found[("unspecified", "nodule")] == 0
    assert named(labels_of(row, [])) == {"infiltrate": 1, "effusion": 0, "nodule": 0}  # truth: labels only


def test_boxes_and_masks_become_annotations(tmp_path):
    mask = np.zeros((80, 100), np.uint8)
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


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"file": ""}, "no image in column 'file'"),
        ({"findings": ""}, "neither report nor labels"),
        ({"findings": "Efusion"}, "label 'Efusion' has no class"),
        ({"findings": "No Finding|Effusion"}, "'No Finding' together with other labels"),
        ({"split": "dev"}, "split 'dev' is none of train"),
        ({"patient": ""}, "no patient in column 'patient'"),
        ({"boxes": "[{"}, "boxes is not valid JSON"),
        ({"boxes": "{}"}, "boxes is dict, expected a JSON list"),
        ({"boxes": '[{"label": "Effusion", "x": 1, "y": 2, "w": 0, "h": 3}]'}, "box {'label': 'Effusion'"),
        ({"boxes": '[{"label": "Effusion", "x": "1", "y": 2, "w": 1, "h": 3}]'}, "box {'label': 'Effusion'"),
        ({"masks": '[{"label": "Effusion"}]'}, "mask {'label': 'Effusion'}: expected a 'file'"),
        ({"masks": '[{"file": "a"}]'}, "expected an object with a 'label'"),
        ({"file": "a.png"}, "image 'a.png' is in row 2 already"),
        ({"patient": "p0", "split": "test"}, None),
    ],
)
def test_malformed_row_is_named(tmp_path, cells, message):
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, [{"file": "a.png"}, {"file": "b.png"} | cells])
    text = str(caught.value)
    expected = message or "patient 'p0' is in train (row 2), test (row 3); one patient belongs to one split"
    assert text.startswith(f"{tmp_path / 'labels.csv'}: ") and expected in text and "\n" not in text
    assert "row 3" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,findings\na.png,Effusion\n\nb.png,Effusion\n", "row 3: empty row"),
        ("file,findings\na.png,Effusion\n,\n", "row 3: empty row"),
        ("file,findings\na.png\n", "row 2: 1 cells, the header has 2"),
        ("file,findings\na.png,Effusion,x\n", "row 2: 3 cells, the header has 2"),
        ('file,findings\na.png,"Effu"sion\n', "row 2: malformed CSV"),
        ("file,label\na.png,Effusion\n", "no column 'findings'; the header has: file, label"),
        ("file,findings\n", "no rows below the header"),
        ("", "no column 'file'"),
    ],
)
def test_malformed_file_is_named(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    options = make_options(columns={"image": "file", "labels": "findings"}, annotated_everywhere=[])
    with pytest.raises(InputError) as caught:
        read_rows(path, options)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_unreadable_csv_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.csv: cannot read the CSV file"):
        read_rows(tmp_path / "gone.csv", make_options())
    (tmp_path / "latin.csv").write_bytes("file\nbild-ä.png\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.csv: not UTF-8"):
        read_rows(tmp_path / "latin.csv", make_options())


def test_quoted_line_breaks_and_a_byte_order_mark_are_fine(tmp_path):
    path = write(tmp_path, [{"file": "a.png", "text": 'Two\nlines, "quoted".'}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (row,) = read_rows(path, make_options())
    assert row.report == 'Two\nlines, "quoted".' and row.number == 2


def test_without_split_column_patients_are_hashed(tmp_path):
    columns = {key: value for key, value in OPTIONS["columns"].items() if key != "split"}
    cells = [{"file": f"{i}.png", "patient": f"patient-{i // 3}"} for i in range(60)]
    rows = rows_of(tmp_path, cells, columns=columns)
    by_patient = {}
    for row in rows:
        assert by_patient.setdefault(row.patient, row.split) == row.split
    assert len(set(by_patient.values())) > 1


def test_hashed_shares_are_close_to_the_fractions():
    fractions = {"train": 0.7, "validation": 0.2, "test": 0.1}
    found = [split_of(f"patient-{i}", fractions) for i in range(4000)]
    for split, share in fractions.items():
        assert found.count(split) / 4000 == pytest.approx(share, abs=0.03)


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_patient_gets_a_split_with_a_share(patient):
    assert split_of(patient, {"train": 0.5, "validation": 0.5}) in ("train", "validation")
    assert split_of(patient, {"train": 0.0, "validation": 0.0, "test": 1.0}) == "test"


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
    assert list((broken / "out").iterdir()) == []  # nothing half-built is left


def test_unwanted_views_are_listed_too(tmp_path):
    write(tmp_path, [{"file": "a.png", "view": "PA"}, {"file": "b.png", "view": "LATERAL"}])
    report = build("folder", out=tmp_path / "out", root=tmp_path, options=make_options(views=["PA", "AP"]), workers=1)
    assert report["splits"] == {"train": 1}
    assert report["drops"] == [{"row": 3, "file": "b.png", "reason": "view 'LATERAL' is not in views"}]


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
    with pytest.raises(InputError, match="lies outside the image of 100 x 80 pixels"):
        row_record(second, root=tmp_path, options=make_options())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": {"report": "text"}}, "folder option columns"),
        ({"columns": {"image": "a", "age": "b"}}, "folder option columns"),
        ({"size": "256"}, "folder option size: has the wrong type"),
        ({"size": 8}, "folder option size"),
        ({"label_map": {"Infiltration": "nothing"}}, "label 'Infiltration' has no class"),
        ({"annotated_everywhere": [{"class": ["Nodule"]}]}, "folder option annotated_everywhere"),
        ({"split_names": {"a": "dev"}}, "folder option split_names"),
        ({"split_fractions": {"train": 0.5}}, "folder option split_fractions"),
        ({"image_format": "gif"}, "folder option image_format"),
    ],
)
def test_options_are_checked(changes, message):
    with pytest.raises(InputError, match=message):
        make_options(**changes)


def test_options_file_is_checked(tmp_path):
    with pytest.raises(InputError, match=r"gone.json: cannot read the options"):
        read_options(tmp_path / "gone.json")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(InputError, match=r"a.json: expected a JSON object, got list"):
        read_options(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError, match=r"b.json: not valid JSON"):
        read_options(tmp_path / "b.json")


def test_config_of_the_sample_names_only_known_classes():
    options = FolderOptions(**read_options(CONFIG))
    assert len(options.annotated_everywhere[0]["classes"]) == 14
    assert pathology_index("tail_abnorm_obs") in options.mapped_classes()


@pytest.mark.real
@pytest.mark.skipif(not SAMPLE.exists(), reason="the real X-rays of ../shared are not here")
def test_rows_of_the_real_sample():
    options = FolderOptions(**read_options(CONFIG))
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
