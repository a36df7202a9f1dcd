"""On a small tree with the bytes of the published lists: a comma too many here, no last line break there."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from folder_csv import entries, named
from PIL import Image

from data_pipelines import images
from data_pipelines.datasets import open_split
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.nih_cxr14 import NihCxr14, NihOptions
from data_pipelines.datasets.nih_cxr14_lists import CLASSES, read_boxes
from data_pipelines.images import reading
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import PATHOLOGIES

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
# file, labels, patient, view, list, folder of the image ("" for none)
ROWS = [
    ("00000001_000.png", "Cardiomegaly|Emphysema", "1", "PA", "train_val", "images_001/images"),
    ("00000001_001.png", "No Finding", "1", "AP", "train_val", "images_001/images"),
    ("00000002_000.png", "Fibrosis|Pleural_Thickening|Infiltration", "2", "PA", "train_val", "images_001/images"),
    ("00000003_000.png", "Hernia", "3", "PA", "train_val", ""),  # row 5: the file is missing
    ("00000004_000.png", "Mass", "4", "PA", "train_val", "images_002/images"),  # row 6: cut off below
    ("00000005_000.png", "Edema", "5", "PA", "", "images_002/images"),  # row 7: in no list
    ("00000001_000.png", "Mass", "1", "PA", "train_val", ""),  # row 8: once more
    ("00000006_000.png", "", "6", "PA", "train_val", "images_002/images"),  # row 9: no labels
    ("00000007_000.png", "Infiltration|Mass", "7", "AP", "test", "images_012/images"),
    ("00000008_000.png", "No Finding", "8", "PA", "test", "images_012/images"),
]
BOXES = [
    "00000007_000.png,Infiltrate,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661",
    "00000007_000.png,Mass,900,512,256,128",  # over the right edge
    "00000007_000.png,Mass,1024,512,256,128",  # outside
]


def png(level: int, *, side: int = 96, mode: str = "L") -> bytes:
    ramp = (np.add.outer(np.arange(side), np.arange(side)) * 90 // side + level).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(ramp).convert(mode).save(file, "PNG", compress_level=1)
    return file.getvalue()


def tree(root: Path) -> Path:
    lines = [
        f"{file},{labels},0,{patient},58,M,{view},2682,2749,0.143,0.143," for file, labels, patient, view, *_ in ROWS
    ]
    (root / "Data_Entry_2017.csv").write_bytes("\n".join([HEADER, *lines, ""]).encode())
    (root / "BBox_List_2017.csv").write_bytes("\n".join([BOX_HEADER, *BOXES, ""]).encode())
    for side in ("train_val", "test"):
        names = dict.fromkeys(row[0] for row in ROWS if row[4] == side)
        (root / f"{side}_list.txt").write_bytes("\n".join(names).encode())
    for level, (file, *_, folder) in enumerate(ROWS):
        if folder:
            (root / folder).mkdir(parents=True, exist_ok=True)
            side = 1024 if file == "00000007_000.png" else 96
            (root / folder / file).write_bytes(png(level, side=side, mode="RGBA" if level == 1 else "L"))
    cut = root / "images_002/images/00000004_000.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    return root


def options(**changes) -> NihOptions:
    return NihOptions(**({"size": 64, "partial": True, "validation_share": 0.0} | changes))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tree(tmp_path_factory.mktemp("nih"))
    report = build("nih_cxr14", out=root / "out", root=root, options=options(), workers=1)
    return {"root": root, "report": report}


def records_of(built, split: str) -> dict:
    source = open_split(built["root"] / "out", "nih_cxr14", split)
    return {record["image_id"]: record for record in (source[i] for i in range(len(source)))}


def test_splits_are_the_official_lists(built):
    assert built["report"]["splits"] == {"train": 3, "test": 2}
    assert list(records_of(built, "train")) == ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
    assert list(records_of(built, "test")) == ["00000007_000.png", "00000008_000.png"]
    assert {record["patient_id"] for record in records_of(built, "test").values()} == {"00000007", "00000008"}


def test_what_is_left_out_is_listed_by_kind(built):
    found = [(drop["row"], drop["kind"]) for drop in built["report"]["drops"]]
    assert found == [
        (5, "missing image"),
        (6, "unreadable image"),
        (7, "in no list"),
        (8, "duplicate id"),
        (9, "empty cell"),
    ]
    manifest = (Path(built["report"]["directory"]) / "manifest.csv").read_text().splitlines()
    assert len(manifest) == 1 + len(ROWS)
    assert manifest[1].startswith(
        "2,images_001/images/00000001_000.png,train,00000001,cardiomegaly|emphysema,"
    ) and manifest[1].endswith(",")
    assert manifest[4].endswith(",missing image: no file 00000003_000.png in images*/**/*.png")


def test_every_image_states_all_14_classes(built):
    assert len(CLASSES) == len(set(CLASSES.values())) == 14
    train = records_of(built, "train")
    truth = named(train["00000002_000.png"]["labels"])
    assert truth == {name: int(name in ("tail_abnorm_obs", "thicken", "infiltrate")) for name in CLASSES.values()}
    assert entries(train["00000002_000.png"]["matrix"]) == {("unspecified", name): v for name, v in truth.items()}
    assert named(train["00000001_001.png"]["labels"]) == dict.fromkeys(CLASSES.values(), 0)
    assert named(train["00000001_000.png"]["labels"])["emphysema"] == 1


def test_boxes_are_where_they_were_drawn(built):
    infiltrate, mass = records_of(built, "test")["00000007_000.png"]["annotations"]
    assert [PATHOLOGIES[entry["pathology"]] for entry in (infiltrate, mass)] == ["infiltrate", "mass"]
    x, y, w, h = 225.084745762712, 547.019216763771, 86.7796610169491, 79.1864406779661
    np.testing.assert_allclose(infiltrate["box"], np.array([x, y, x + w, y + h]) / 1024, rtol=1e-6)
    np.testing.assert_allclose(mass["box"], [900 / 1024, 0.5, 1, 0.625])  # cut at the edge
    (note,) = [note for note in built["report"]["notes"] if "BBox" in note]
    assert note == (
        "BBox_List_2017.csv: row 4: 00000007_000.png: box x=1024.0 y=512.0 w=256.0 h=128.0 "
        "lies outside the image of 1024 x 1024; left out"
    )


def test_colour_with_transparency_is_the_same_picture(built):
    stored = images.decode_grey(records_of(built, "train")["00000001_001.png"]["image"], name="a")
    grey = reading.resize_short_side(images.read_grey(png(1)), 64)
    assert stored.shape == (64, 64) and np.abs(stored.astype(int) - grey).mean() < 1


def test_bytes_do_not_depend_on_workers(built, tmp_path):
    report = build("nih_cxr14", out=tmp_path, root=built["root"], options=options(), workers=2)
    names = {path.name for path in Path(report["directory"]).iterdir()}
    assert any("array_record" in name for name in names)
    for name in names - {"dataset_info.json"}:
        first, second = (Path(found["directory"]) / name for found in (built["report"], report))
        assert first.read_bytes() == second.read_bytes(), name


def test_validation_is_drawn_by_patient(built):
    plan = NihCxr14.plan(root=built["root"], options=options(validation_share=0.6))
    splits = {job.file.split("/")[-1][:8]: split for split, jobs in plan.jobs.items() for job in jobs}
    assert splits["00000001"] == "validation" and splits["00000007"] == splits["00000008"] == "test"
    assert sum(len(jobs) for jobs in plan.jobs.values()) == 6 and len(plan.jobs["test"]) == 2
    assert plan.metadata["validation_share"] == 0.6 and plan.metadata["entries"] == "Data_Entry_2017.csv"


def test_views_can_be_chosen(built):
    plan = NihCxr14.plan(root=built["root"], options=options(views=["AP"]))
    assert {job.payload.image_id for jobs in plan.jobs.values() for job in jobs} == {
        "00000001_001.png",
        "00000007_000.png",
    }
    assert sum(drop.kind == "other view" for drop in plan.drops) == 5


def test_version_of_2020_in_one_folder(tmp_path):
    root = tree(tmp_path)
    (root / "Data_Entry_2017.csv").rename(root / "Data_Entry_2017_v2020.csv")
    text = (root / "Data_Entry_2017_v2020.csv").read_text().replace(",\n", "\n")
    (root / "Data_Entry_2017_v2020.csv").write_bytes(text.replace("\n", "\r\n").encode())
    (root / "BBox_List_2017.csv").write_bytes(("\r\n".join([BOX_HEADER[:-3], *BOXES]) + "\r\n").encode())
    (root / "images").mkdir()
    for path in sorted(root.glob("images_*/images/*.png")):
        path.rename(root / "images" / path.name)
    plan = NihCxr14.plan(root=root, options=options())
    assert [job.file for job in plan.jobs["test"]] == ["images/00000007_000.png", "images/00000008_000.png"]
    assert len(plan.jobs["test"][0].payload.boxes) == 2 and plan.metadata["entries"] == "Data_Entry_2017_v2020.csv"


def test_boxes_on_a_scaled_copy_are_refused(tmp_path):
    root = tree(tmp_path)
    (root / "images_012/images/00000007_000.png").write_bytes(png(8, side=512))
    report = build("nih_cxr14", out=tmp_path / "out", root=root, options=options(), workers=1)
    (drop,) = [drop for drop in report["drops"] if drop["kind"] == "other size"]
    assert drop["row"] == 10 and "512 x 512 pixels, its boxes were drawn on 1024 x 1024" in drop["reason"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "Data_Entry_2017.csv",
            "Hernia",
            "Hernai",
            "Data_Entry_2017.csv: row 5: label 'Hernai' is none of Atelectasis",
        ),
        ("Data_Entry_2017.csv", "Hernia", "Hernia|No Finding", "row 5: 'No Finding' together with other labels"),
        ("Data_Entry_2017.csv", "View Position", "View", "no column 'View Position'"),
        ("Data_Entry_2017.csv", ",0,8,58", ",0,1,58", "row 11: patient 00000001 is in test, and in train_val in row 2"),
        ("BBox_List_2017.csv", "547.019216763771", "", r"BBox_List_2017.csv: row 2: x, y, w, h are .*four numbers"),
        ("BBox_List_2017.csv", ",256,128", ",0,128", "row 3: x, y, w, h are .*above 0"),
        ("BBox_List_2017.csv", "Infiltrate", "Infiltrated", "row 2: expected an image, one of"),
        ("BBox_List_2017.csv", "Bbox [x", "x", "the header is Image Index,Finding Label,x,y,w,h]"),
        ("test_list.txt", "00000008_000", "00000001_000", "test_list.txt: row 2: 00000001_000.png is in train_val"),
    ],
)
def test_malformed_list_is_named_with_its_row(tmp_path, file, old, new, message):
    root = tree(tmp_path)
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        NihCxr14.plan(root=root, options=options())


def test_policy_fail_stops_at_the_first(tmp_path):
    root = tree(tmp_path)
    with pytest.raises(InputError, match=r"Data_Entry_2017.csv: row 5: no file 00000003_000.png .*policy skip"):
        NihCxr14.plan(root=root, options=options(), policy="fail")


def test_boxes_without_entry_or_label_are_noted(tmp_path):
    root = tree(tmp_path)
    lines = [BOX_HEADER, "00000009_000.png,Mass,1,2,3,4", "00000008_000.png,Nodule,1,2,3,4"]
    (root / "BBox_List_2017.csv").write_text("\n".join(lines))
    notes = NihCxr14.plan(root=root, options=options()).notes
    assert notes[0] == "BBox_List_2017.csv: row 2: 00000009_000.png has no entry; box left out"
    assert notes[1].endswith("row 3: 00000008_000.png: nodule is none of its labels; taken as present")


def test_options_are_checked():
    with pytest.raises(InputError, match="validation_share=1"):
        NihOptions(validation_share=1)
    with pytest.raises(InputError, match=r"views=\['LL'\]: expected a list of AP, PA"):
        NihOptions(views=["LL"])
    with pytest.raises(InputError, match=r"views=\[\['AP'\]\]: expected a list of AP, PA"):
        NihOptions(views=[["AP"]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"partial": "no"}, "partial='no': expected true or false"),
        ({"image": "inverted"}, "image='inverted': expected an object of voi, polarity, "),
        ({"text": None}, "text=None: expected an object of section, empty_text, "),
        ({"image": {"gamma": 2}}, "image: unknown keys gamma; it has: "),
    ],
)
def test_options_of_a_wrong_kind_are_named(values, message):
    with pytest.raises(InputError, match=f"^{message}"):
        NihOptions(**values)


def test_command_line(tmp_path, capsys):
    (tmp_path / "nih").mkdir()
    root = tree(tmp_path / "nih")
    assert main.main(["data", "check", "nih_cxr14", "--root", str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["differs", "images*/**/*.png", "8"] for line in lines)
    flags = ["data", "build", "nih_cxr14", "--root", str(root), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main.main(flags) == 2
    assert "8 files, the official release has 112120; complete it or build with --partial" in capsys.readouterr().err
    (tmp_path / "o.json").write_text(json.dumps({"validation_share": 0.6, "image": {"resize": "squash"}}))
    assert main.main([*flags, "--partial", "--size", "32", "--options", str(tmp_path / "o.json")]) == 0
    assert "validation 2" in capsys.readouterr().out
    metadata = json.loads((tmp_path / "out/nih_cxr14/1.0.0/metadata.json").read_text())
    assert metadata["image"]["resize"] == "squash" and metadata["size"] == 32 and metadata["partial"] is True


def test_complete_download_passes_the_check(tmp_path, capsys, monkeypatch):
    """The lists must have the official lengths too, which the check of the tree does not count."""
    root = tree(tmp_path)
    expected = [*NihCxr14.EXPECTED[:-1], type(NihCxr14.EXPECTED[0])("images*/**/*.png", 8)]
    monkeypatch.setattr(NihCxr14, "EXPECTED", tuple(expected))
    assert main.main(["data", "check", "nih_cxr14", "--root", str(root)]) == 0
    with pytest.raises(InputError, match=r"train_val_list.txt: 6 rows, the official release has 86524; download it"):
        NihCxr14.plan(root=root, options=options(partial=False))


@pytest.mark.parametrize("tail", ["", ",,,"])
def test_both_published_forms_of_the_box_list(tmp_path, tail):
    path = tmp_path / "BBox_List_2017.csv"
    path.write_text("\n".join([BOX_HEADER, *(box + tail for box in BOXES)]))
    row = read_boxes(path)[0]
    assert (row.number, row.box.x, row.box.h) == (2, 225.084745762712, 79.1864406779661)
