import collections
import csv
import dataclasses
import json
import re

import numpy as np
import pytest
from challenge_files import bright_share, inside, picture, records, stated, truncate, write_dicom

from data_pipelines import images
from data_pipelines.datasets import open_split
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.rsna import CLASSES, LABELS, MAPPINGS, Rsna, RsnaOptions
from data_pipelines.images.policy import ImagePolicy
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import pathology_index

SIDE = 256  # the challenge's are 1024, its boxes are pixels of whatever the file has
HEADER = "patientId,x,y,width,height,Target"
TWO, ONE, NONE, OTHER = (f"{i:08x}-7a2f-4b1c-9d3e-0123456789ab" for i in range(4))
BOXES = [(32, 64, 48, 40), (160, 80, 32, 96)]


def tree(root, lines=(), *, classes=True):
    """The official layout with a patient of two boxes, one of one box, and two without, then `lines` of labels."""
    rows = [
        f"{NONE},,,,,0",
        *(f"{TWO},{x}.0,{y}.0,{w}.0,{h}.0,1" for x, y, w, h in BOXES),
        f"{OTHER},,,,,0",
        f"{ONE},16.0,24.0,64.0,32.0,1",
        *lines,
    ]
    (root / LABELS).write_text("\n".join([HEADER, *rows]) + "\n")
    if classes:
        found = {TWO: "Lung Opacity", ONE: "Lung Opacity", NONE: "Normal", OTHER: "No Lung Opacity / Not Normal"}
        lines = [f"{name},{found[name]}" for name in (NONE, TWO, TWO, OTHER, ONE)]
        (root / CLASSES).write_text("\n".join(["patientId,class", *lines]) + "\n")
    folder = root / "stage_2_train_images"
    two = picture(SIDE, bright=BOXES[0]) | picture(SIDE, bright=BOXES[1])
    write_dicom(folder / f"{TWO}.dcm", two)
    write_dicom(folder / f"{ONE}.dcm", picture(SIDE, bright=(16, 24, 64, 32)))
    for seed, name in enumerate((NONE, OTHER)):
        write_dicom(folder / f"{name}.dcm", picture(SIDE, seed=seed + 1))
    return root


def options(**changes) -> RsnaOptions:
    return RsnaOptions(**{"partial": True, "size": 64, "split_fractions": {"train": 1.0}} | changes)


def kinds(report) -> dict:
    return collections.Counter(drop["kind"] for drop in report["drops"])


def test_labels_and_boxes_land_where_the_picture_is_bright(tmp_path):
    report = build("rsna", out=tmp_path / "out", root=tree(tmp_path), options=options(), workers=1)
    assert report["splits"] == {"train": 4} and report["drops"] == []
    found = records(tmp_path / "out", "rsna", "train")
    assert list(found) == [NONE, TWO, OTHER, ONE]  # as listed
    assert [stated(record) for record in found.values()] == [{"pneumonia": value} for value in (0, 1, 0, 1)]
    assert found[NONE]["annotations"] == found[OTHER]["annotations"] == []
    first, second = found[TWO]["annotations"]
    np.testing.assert_allclose(first["box"], np.array([32, 64, 80, 104]) / SIDE)
    np.testing.assert_allclose(second["box"], np.array([160, 80, 192, 176]) / SIDE)
    assert {first["pathology"], second["pathology"]} == {pathology_index("pneumonia")}
    for record in (found[TWO], found[ONE]):
        covered = np.logical_or.reduce([inside(record, annotation) for annotation in record["annotations"]])
        assert covered.shape == (64, 64) and min(bright_share(record, covered)) > 0.95
    assert found[TWO]["matrix"].max(axis=0)[pathology_index("pneumonia")] == 1


def test_the_mess_is_dropped_and_counted(tmp_path):
    gone, bare, cut, half, negative, outside, both, empty, unlisted = (f"{n}-mess" for n in range(9))
    lines = [
        f"{gone},,,,,0",
        f"{bare},,,,,0",
        f"{cut},,,,,0",
        f"{NONE},,,,,0",  # again
        f"{ONE},16.0,24.0,64.0,32.0,1",  # the same box again
        f"{half},1.0,,4.0,4.0,1",
        f"{negative},-5.0,3.0,40.0,40.0,1",
        f"{outside},300.0,3.0,4.0,4.0,1",
        f"{both},1.0,1.0,4.0,4.0,1",
        f"{both},,,,,0",
        f"{empty},,,,,",
    ]
    folder = tree(tmp_path, lines) / "stage_2_train_images"
    for number, name in enumerate((cut, half, negative, outside, both, empty, unlisted)):
        write_dicom(folder / f"{name}.dcm", picture(SIDE, seed=10 + number))
    truncate(folder / f"{cut}.dcm")
    write_dicom(folder / f"{bare}.dcm", None)
    report = build("rsna", out=tmp_path / "out", root=tmp_path, options=options(), workers=1)
    assert report["splits"] == {"train": 4}
    assert {drop["kind"] for drop in report["drops"] if drop["row"] == 9} == {"unreadable image"}
    assert {(drop["row"], drop["kind"]) for drop in report["drops"] if drop["row"] != 9} == {
        (0, "no labels"),
        (7, "missing image"),
        (8, "DICOM without pixels"),
        (10, "duplicate id"),
        (11, "duplicate id"),
        (12, "unusable box"),
        (13, "unusable box"),
        (14, "unusable box"),
        (15, "contradictory labels"),
        (17, "no labels"),
    }
    reasons = {drop["row"]: drop["reason"] for drop in report["drops"]}
    assert reasons[10] == f"{NONE} is in row 2 already" and "x='-5.0'" in reasons[13]
    assert reasons[15] == "row 15 has Target 1, row 16 Target 0" and "lies outside" in reasons[14]
    with (tmp_path / "out" / "rsna" / "1.0.0" / "manifest.csv").open() as file:
        manifest = list(csv.DictReader(file))
    assert len(manifest) == 4 + len(report["drops"]) == sum(bool(line["reason"]) for line in manifest) + 4
    assert {line["labels"] for line in manifest if line["patient"] == ONE} == {"pneumonia"}
    kept = records(tmp_path / "out", "rsna", "train")
    assert len(kept[ONE]["annotations"]) == 1 and set(kept) == {NONE, TWO, OTHER, ONE}


def test_policy_fail_names_the_row(tmp_path):
    tree(tmp_path, ["gone,,,,,0"])
    with pytest.raises(InputError, match=r"stage_2_train_labels.csv: row 7: .*gone.dcm: not there; .*policy skip"):
        Rsna.plan(root=tmp_path, options=options(), policy="fail")


def test_detailed_classes_are_compared(tmp_path):
    tree(tmp_path)
    (tmp_path / CLASSES).write_text(f"patientId,class\n{ONE},Normal\n{NONE},Lung Opacity\n{TWO},Lung Opacity\n")
    report = build("rsna", out=tmp_path / "out", root=tmp_path, options=options(), workers=1)
    assert {drop["row"] for drop in report["drops"]} == {2, 6} and kinds(report) == {"contradictory labels": 2}
    (tmp_path / CLASSES).write_text(f"patientId,class\n{ONE},Fine\n")
    with pytest.raises(InputError, match=r"class_info.csv: row 2: class 'Fine' is none of Lung Opacity"):
        Rsna.plan(root=tmp_path, options=options())


@pytest.mark.parametrize("kind", ["text", "json"])
def test_split_lists(tmp_path, kind):
    tree(tmp_path)
    lists = {"train": [TWO, f"{NONE}.dcm"], "val": [ONE]}
    if kind == "text":
        for split, ids in lists.items():
            (tmp_path / f"{split}.txt").write_text("\n".join(ids) + "\n\n")
        files = {split: f"{split}.txt" for split in lists}
    else:
        files = "splits.json"
        (tmp_path / files).write_text(json.dumps(lists))
    report = build("rsna", out=tmp_path / "out", root=tmp_path, options=options(split_files=files), workers=1)
    assert report["splits"] == {"train": 2, "validation": 1}
    assert [(drop["file"].split("/")[1], drop["kind"]) for drop in report["drops"]] == [
        (f"{OTHER}.dcm", "in no split list")
    ]
    assert set(records(tmp_path / "out", "rsna", "validation")) == {ONE}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": [ONE], "test": [ONE]}, f"splits.json: test row 1: id '{ONE}' is in train already"),
        ({"holdout": [ONE]}, "splits.json: split 'holdout' is none of train"),
        ({"train": ONE}, "splits.json: expected a list of ids"),
        ([ONE], "splits.json: expected a JSON object, got list"),
    ],
)
def test_bad_split_lists_are_named(tmp_path, lists, message):
    (tree(tmp_path) / "splits.json").write_text(json.dumps(lists))
    with pytest.raises(InputError, match=message):
        Rsna.plan(root=tmp_path, options=options(split_files="splits.json"))


def test_ids_that_are_not_there(tmp_path, monkeypatch):
    (tree(tmp_path) / "splits.json").write_text(json.dumps({"train": [ONE, "nobody"]}))
    plan = Rsna.plan(root=tmp_path, options=options(split_files="splits.json"))
    assert any("1 ids are not in this data set, the first: nobody" in note for note in plan.notes)
    official_numbers(monkeypatch)
    with pytest.raises(InputError, match="the first: nobody; take the lists"):
        Rsna.plan(root=tmp_path, options=options(split_files="splits.json", partial=False))


def test_patients_of_nih_stay_together(tmp_path):
    tree(tmp_path)
    numbers = {NONE: 7, TWO: 7, ONE: 7, OTHER: 12}
    entries = [{"subset_img_id": name, "img_id": f"{n:08d}_003.png"} for name, n in numbers.items()]
    (tmp_path / MAPPINGS).write_text(json.dumps(entries))
    plan = Rsna.plan(root=tmp_path, options=options(patients=MAPPINGS, split_fractions={"train": 0.5, "test": 0.5}))
    splits = collections.defaultdict(set)
    for split, jobs in plan.jobs.items():
        for job in jobs:
            splits[job.payload.patient].add(split)
    assert set(splits) == {"00000007", "00000012"} and all(len(found) == 1 for found in splits.values())
    assert not plan.notes
    assert "names an image" in Rsna.plan(root=tmp_path, options=options()).notes[0]
    (tmp_path / "lists.json").write_text(json.dumps({"train": [NONE], "test": [TWO, ONE, OTHER]}))
    plan = Rsna.plan(root=tmp_path, options=options(patients=MAPPINGS, split_files="lists.json"))
    assert plan.notes == ["1 patients have images in several splits, the first: 00000007"]


def test_released_equalisation_is_an_option(tmp_path):
    tree(tmp_path)
    found = [
        images.decode_grey(open_split(tmp_path / name, "rsna", "train")[1]["image"], name=name)
        for name, policy in (("plain", ImagePolicy()), ("even", ImagePolicy(equalise="released_rsna")))
        if build("rsna", out=tmp_path / name, root=tmp_path, options=options(image=policy), workers=1)
    ]
    assert abs(int(found[0].min()) - 40) < 12 and found[1].max() == 255 and found[1].min() > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patientId,x,y,width,height\n", "no column 'Target'"),
        (f"{HEADER}\na,1,2\n", "row 2: 3 cells, the header has 6"),
        (f"{HEADER}\na,,,,,2\n", "row 2: patientId 'a', Target '2'"),
        (f"{HEADER}\n", "all 4 rows were dropped"),
    ],
)
def test_bad_labels_are_named(tmp_path, text, message):
    (tree(tmp_path, classes=False) / LABELS).write_text(text)
    with pytest.raises(InputError, match=message):
        Rsna.plan(root=tmp_path, options=options())


def official_numbers(monkeypatch, *, rows=5, count=4):
    """The tests' tree counts as the official one."""
    small = [
        dataclasses.replace(entry, count=count) if entry.pattern == "stage_2_train_images/*.dcm" else entry
        for entry in Rsna.EXPECTED
    ]
    monkeypatch.setattr(Rsna, "EXPECTED", tuple(small))
    monkeypatch.setattr("data_pipelines.datasets.rsna_lists.ROWS", rows)


def test_counts_are_the_official_ones(tmp_path, monkeypatch):
    tree(tmp_path)
    with pytest.raises(InputError, match=r"4 files, the official release has 26684; .*--partial"):
        Rsna.plan(root=tmp_path)
    official_numbers(monkeypatch)
    assert Rsna.plan(root=tmp_path)
    official_numbers(monkeypatch, rows=6)
    with pytest.raises(InputError, match="5 rows, the official release has 6"):
        Rsna.plan(root=tmp_path)


def test_check_and_build_on_the_command_line(tmp_path, monkeypatch, capsys):
    tree(tmp_path)
    assert main.main(["data", "check", "rsna", "--root", str(tmp_path)]) == 1
    assert re.search(r"^differs +stage_2_train_images/\*\.dcm +4 of 26684 ", capsys.readouterr().out, re.MULTILINE)
    assert main.main(["data", "check", "rsna", "--root", str(tmp_path / "gone")]) == 2
    said = capsys.readouterr()
    assert "expected tree:\n" in said.out and "stage_2_train_images" in said.out
    assert said.err == f"medslip: --root {tmp_path / 'gone'}: no such directory\n"
    (tmp_path / "options.json").write_text('{"split_fractions": {"train": 1.0}, "image": {"equalise": "none"}}')
    flags = ["data", "build", "rsna", "--root", str(tmp_path), "--options", str(tmp_path / "options.json")]
    flags += ["--size", "64", "--workers", "1", "--out", str(tmp_path / "data")]
    assert main.main(flags) == 2
    assert "the official release has 26684" in capsys.readouterr().err
    assert main.main([*flags, "--partial"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/data/rsna/1.0.0: train 4\n")
    official_numbers(monkeypatch)
    assert main.main(["data", "check", "rsna", "--root", str(tmp_path)]) == 0
    (tmp_path / LABELS).unlink()
    assert main.main(["data", "check", "rsna", "--root", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out


def test_bytes_do_not_depend_on_workers(tmp_path):
    tree(tmp_path, ["gone,,,,,0"])
    reports = [
        build("rsna", out=tmp_path / f"out{workers}", root=tmp_path, options=options(), workers=workers)
        for workers in (1, 2)
    ]
    first, second = (sorted((tmp_path / f"out{n}" / "rsna" / "1.0.0").glob("*")) for n in (1, 2))
    assert reports[0]["drops"] == reports[1]["drops"] and [path.name for path in first] == [
        path.name for path in second
    ]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
