import json
import os
from pathlib import Path

import numpy as np
import pytest
from challenge_files import bright_share, inside, picture, records, stated, truncate, write_dicom

from data_pipelines import images
from data_pipelines.datasets import siim_acr
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.shared import official
from data_pipelines.datasets.shared.official import Expected
from data_pipelines.datasets.siim_acr import SiimAcr, SiimAcrOptions
from data_pipelines.images.rle import encode_rle
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import pathology_index

SIDE = 1024
UID = "1.2.276.0.7230010.3.1.4.8323329.{}.1517875166.{}"
TWO, ONE, NONE = (UID.format(number, 10 * number) for number in (1034, 14508, 300))
SPOTS = [(128, 256, 64, 160), (640, 304, 200, 96)]  # x, y, width, height, each a multiple of 8
HEADER = "ImageId, EncodedPixels"


def runs(x: int, y: int, w: int, h: int) -> str:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + h, x : x + w] = True
    return encode_rle(mask)


def dicom_path(root, name, folder="dicom-images-train"):
    return root / folder / f"{name}.2.1" / f"{name}.3.1" / f"{name}.dcm"


def pictures() -> dict:
    two = picture(SIDE, bright=SPOTS[0]) | picture(SIDE, bright=SPOTS[1])
    return {TWO: two, ONE: picture(SIDE, bright=SPOTS[1]), NONE: picture(SIDE, seed=1)}


def listing(root, lines=(), name="train-rle.csv", header=HEADER) -> None:
    """train-rle.csv with its space after the comma, two masks of one image, then `lines`."""
    rows = [f"{NONE}, -1", f"{TWO}, {runs(*SPOTS[0])}", f"{TWO}, {runs(*SPOTS[1])}", f"{ONE}, {runs(*SPOTS[1])}"]
    (root / name).write_text("\n".join([header, *rows, *lines]) + "\n")


def tree(root, lines=()):
    listing(root, lines)
    for name, pixels in pictures().items():
        write_dicom(dicom_path(root, name), pixels)
    return root


def png_tree(root, *, masks: bool):
    """The redistribution: images under other names, told apart by two CSV files."""
    (root / "png_images").mkdir()
    (root / "png_masks").mkdir()
    table = {"train": [(TWO, 1), (NONE, 0)], "test": [(ONE, 1)]}
    spots = {TWO: SPOTS, ONE: SPOTS[1:], NONE: []}
    for split, rows in table.items():
        lines = ["new_filename,ImageId,has_pneumo"]
        for number, (name, has) in enumerate(rows):
            file = f"{number}_{split}_{has}_.png"
            lines.append(f"{file},{name},{has}")
            (root / "png_images" / file).write_bytes(images.encode_grey(pictures()[name], kind="png"))
            mask = np.zeros((SIDE, SIDE), np.uint8)
            for x, y, w, h in spots[name]:
                mask[y : y + h, x : x + w] = 255
            if masks:
                (root / "png_masks" / file).write_bytes(images.encode_grey(mask, kind="png"))
        (root / f"stage_1_{split}_images.csv").write_text("\n".join(lines) + "\n")
    return root


def options(**changes) -> SiimAcrOptions:
    return SiimAcrOptions(**{"partial": True, "size": 128, "split_fractions": {"train": 1.0}} | changes)


def assert_masks_are_bright(record):
    covered = np.logical_or.reduce([inside(record, annotation) for annotation in record["annotations"]])
    assert covered.shape == (128, 128) and min(bright_share(record, covered)) > 0.97


def test_each_row_is_a_mask_where_the_picture_is_bright(tmp_path):
    report = build("siim_acr", out=tmp_path / "out", root=tree(tmp_path), options=options(), workers=1)
    assert report["splits"] == {"train": 3} and report["drops"] == []
    assert "every image counts as one" in report["notes"][0]
    found = records(tmp_path / "out", "siim_acr", "train")
    assert list(found) == [NONE, TWO, ONE]
    assert [stated(record) for record in found.values()] == [{"pneumothorax": value} for value in (0, 1, 1)]
    assert found[NONE]["annotations"] == [] and [len(found[name]["annotations"]) for name in (TWO, ONE)] == [2, 1]
    for annotation, (x, y, w, h) in zip(found[TWO]["annotations"], SPOTS, strict=True):
        np.testing.assert_allclose(annotation["box"], np.array([x, y, x + w, y + h]) / SIDE)
        assert annotation["pathology"] == pathology_index("pneumothorax")
        mask = images.decode_grey(annotation["mask"], name="mask")
        assert mask[(y + h // 2) // 8, (x + w // 2) // 8] == 255 and mask.sum() == 255 * w * h // 64
    assert_masks_are_bright(found[TWO])
    assert_masks_are_bright(found[ONE])


def test_the_mess_is_dropped_and_counted(tmp_path):
    gone, bare, cut, beyond, odd, both, empty, unlisted = (UID.format(number, 5) for number in range(8))
    lines = [
        f"{gone}, -1",
        f"{bare}, -1",
        f"{cut}, -1",
        f"{beyond}, 1048570 7",
        f"{odd}, 1 2 3",
        f"{both}, 0 5",
        f"{both}, -1",
        f"{empty}, ",
        f"{NONE}, -1",
        f"{ONE}, {runs(*SPOTS[1])}",
    ]
    tree(tmp_path, lines)
    for seed, name in enumerate((cut, beyond, odd, both, empty, unlisted)):
        write_dicom(dicom_path(tmp_path, name), picture(SIDE, seed=seed + 10))
    write_dicom(dicom_path(tmp_path, bare), None)
    truncate(dicom_path(tmp_path, cut))
    again = tmp_path / "dicom-images-train" / "z.2" / "z.3" / f"{ONE}.dcm"
    write_dicom(again, picture(SIDE, seed=30))
    report = build("siim_acr", out=tmp_path / "out", root=tmp_path, options=options(), workers=1)
    assert report["splits"] == {"train": 3}
    found = {drop["row"]: drop["kind"] for drop in report["drops"]}
    assert found[8] == "unreadable image"
    assert sorted((drop["row"], drop["kind"]) for drop in report["drops"] if drop["row"] != 8) == [
        (0, "duplicate id"),
        (0, "no labels"),
        (6, "missing image"),
        (7, "DICOM without pixels"),
        (9, "unusable mask"),
        (10, "unusable mask"),
        (11, "contradictory labels"),
        (13, "no labels"),
        (14, "duplicate id"),
        (15, "duplicate id"),
    ]
    reasons = {drop["row"]: drop["reason"] for drop in report["drops"]}
    assert reasons[9] == f"mask of {beyond}: runs go beyond the 1048576 pixels of an image of 1024 x 1024"
    assert reasons[15] == f"{ONE} is in row 5 already" and "one of row 11 and row 12" in reasons[11]
    assert len(records(tmp_path / "out", "siim_acr", "train")[ONE]["annotations"]) == 1


def test_policy_fail_names_the_row(tmp_path):
    tree(tmp_path, ["1.2.3, -1"])
    with pytest.raises(InputError, match=r"train-rle.csv: row 6: 1.2.3: no image of this name .*policy skip"):
        SiimAcr.plan(root=tmp_path, options=options(), policy="fail")


def test_stage_2_reads_both_folders_and_another_listing(tmp_path):
    tree(tmp_path)
    (tmp_path / "train-rle.csv").unlink()
    extra = UID.format(77, 7)
    listing(tmp_path, [f"{extra},-1"], name="stage_2_train.csv", header="ImageId,EncodedPixels")
    write_dicom(dicom_path(tmp_path, extra, "dicom-images-test"), picture(SIDE, seed=3))
    plan = SiimAcr.plan(root=tmp_path, options=options(layout="dicom_stage_2"))
    assert [job.payload.image_id for job in plan.jobs["train"]] == [NONE, TWO, ONE, extra]
    with pytest.raises(InputError, match="4 files, the official release has 12089"):
        SiimAcr.plan(root=tmp_path, options=SiimAcrOptions(layout="dicom_stage_2"))


@pytest.mark.parametrize("names", ["redistributed", "by id"])
def test_png_images_with_run_lengths(tmp_path, names):
    listing(png_tree(tmp_path, masks=False))
    if names == "by id":
        for table in siim_acr.STAGE_1:
            (tmp_path / table).unlink()
        for file, name in {"0_train_1_.png": TWO, "1_train_0_.png": NONE, "0_test_1_.png": ONE}.items():
            (tmp_path / "png_images" / file).rename(tmp_path / "png_images" / f"{name}.png")
    report = build("siim_acr", out=tmp_path / "out", root=tmp_path, options=options(layout="png"), workers=1)
    assert report["splits"] == {"train": 3} and report["drops"] == []
    found = records(tmp_path / "out", "siim_acr", "train")
    assert len(found[TWO]["annotations"]) == 2
    assert_masks_are_bright(found[TWO])


def test_run_lengths_do_not_fit_a_smaller_image(tmp_path):
    listing(png_tree(tmp_path, masks=False))
    small = images.resize(pictures()[TWO], height=512, width=512)
    (tmp_path / "png_images" / "0_train_1_.png").write_bytes(images.encode_grey(small, kind="png"))
    report = build("siim_acr", out=tmp_path / "out", root=tmp_path, options=options(layout="png"), workers=1)
    (drop,) = report["drops"]
    assert drop["kind"] == "unusable mask" and drop["reason"].endswith("1024 x 1024, the image has 512 x 512")


def test_png_images_with_png_masks(tmp_path):
    root = png_tree(tmp_path, masks=True)
    report = build("siim_acr", out=tmp_path / "out", root=root, options=options(layout="png_masks"), workers=1)
    assert report["splits"] == {"train": 3} and report["drops"] == []
    found = records(tmp_path / "out", "siim_acr", "train")
    assert [len(found[name]["annotations"]) for name in (TWO, ONE, NONE)] == [1, 1, 0]  # one mask for both spots
    assert stated(found[NONE]) == {"pneumothorax": 0}
    assert_masks_are_bright(found[TWO])
    (root / "png_masks" / "0_train_1_.png").unlink()
    (root / "png_images" / "9_train_0_.png").write_bytes(images.encode_grey(picture(SIDE, seed=5), kind="png"))
    plan = SiimAcr.plan(root=root, options=options(layout="png_masks"))
    assert [(drop.kind, drop.file) for drop in plan.drops] == [
        ("no labels", "png_images/9_train_0_.png"),
        ("missing mask", "png_images/0_train_1_.png"),
    ]


def test_patients_and_split_lists_by_file(tmp_path):
    tree(tmp_path)
    (tmp_path / "patients.csv").write_text(f"ImageId,PatientID\n{TWO},a\n{ONE},a\n{NONE},b\n")
    halves = {"train": 0.5, "test": 0.5}
    plan = SiimAcr.plan(root=tmp_path, options=options(patients="patients.csv", split_fractions=halves))
    splits = {job.payload.image_id: split for split, jobs in plan.jobs.items() for job in jobs}
    assert splits[TWO] == splits[ONE] and not plan.notes
    (tmp_path / "s.json").write_text(json.dumps({"train": [TWO], "valid": [ONE], "test": [f"{NONE}.dcm"]}))
    plan = SiimAcr.plan(root=tmp_path, options=options(patients="patients.csv", split_files="s.json"))
    assert {split: len(jobs) for split, jobs in plan.jobs.items()} == {"train": 1, "validation": 1, "test": 1}
    assert plan.notes == ["1 patients have images in several splits, the first: a"]
    (tmp_path / "patients.csv").write_text(f"ImageId,PatientID\n{TWO},a\n")
    with pytest.raises(InputError, match=f"patients.csv: no PatientID of {NONE}"):
        SiimAcr.plan(root=tmp_path, options=options(patients="patients.csv"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "nifti"}, "options.layout='nifti': must be one of dicom, dicom_stage_2, png, png_masks"),
        ({"split_fractions": {"train": 0.5}}, "do not add up to 1"),
        ({"split_fractions": {"train": float("nan")}}, "do not add up to 1"),
        ({"split_fractions": {"holdout": 1.0}}, "expected shares of train, validation, test"),
        ({"split_files": ["a.txt"]}, "expected {split: text file}"),
    ],
)
def test_bad_options_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        options(**changes)


def test_check_and_build_on_the_command_line(tmp_path, monkeypatch, capsys):
    tree(tmp_path)
    assert main.main(["data", "check", "siim_acr", "--root", str(tmp_path)]) == 1
    assert "of 10712" in capsys.readouterr().out
    (tmp_path / "options.json").write_text('{"split_fractions": {"test": 1.0}, "layout": "dicom"}')
    flags = ["data", "build", "siim_acr", "--root", str(tmp_path), "--options", str(tmp_path / "options.json")]
    flags += ["--size", "64", "--workers", "1", "--out", str(tmp_path / "data")]
    assert main.main(flags) == 2
    assert "3 files, the official release has 10712" in capsys.readouterr().err
    expected = (Expected("train-rle.csv"), Expected("dicom-images-train/*/*/*.dcm", 3))
    monkeypatch.setattr(SiimAcr, "EXPECTED", expected)
    monkeypatch.setitem(siim_acr.LAYOUTS, "dicom", expected)
    assert main.main(["data", "check", "siim_acr", "--root", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main.main(flags) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/data/siim_acr/1.0.0: test 3\nnote: ")


def test_bytes_do_not_depend_on_workers(tmp_path):
    tree(tmp_path, ["1.2.3, -1"])
    for workers in (1, 2):
        build("siim_acr", out=tmp_path / f"out{workers}", root=tmp_path, options=options(), workers=workers)
    first, second = (sorted((tmp_path / f"out{n}" / "siim_acr" / "1.0.0").glob("*")) for n in (1, 2))
    assert [path.name for path in first] == [path.name for path in second]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_what_macos_leaves_beside_images_is_neither_counted_nor_dropped(tmp_path):
    tree(tmp_path)
    for name in (ONE, NONE):
        path = dicom_path(tmp_path, name)
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
        (path.parent / ".DS_Store").write_bytes(b"")
    (tmp_path / "__MACOSX").mkdir()
    found = {finding.expected.pattern: finding.found for finding in official.check_download(tmp_path, SiimAcr.EXPECTED)}
    assert found["dicom-images-train/*/*/*.dcm"] == 3
    assert SiimAcr.plan(root=tmp_path, options=SiimAcrOptions(partial=True)).drops == []


def test_a_file_name_that_is_not_utf_8_is_listed_and_the_rest_is_built(tmp_path):
    tree(tmp_path)
    folder = os.fsencode(dicom_path(tmp_path, ONE).parent)
    (Path(os.fsdecode(folder + b"/caf\xe9.dcm"))).write_bytes(b"")
    report = build("siim_acr", out=tmp_path / "out", root=tmp_path, options=options(), workers=1)
    assert sum(report["splits"].values()) == 3
    (drop,) = report["drops"]
    assert drop["file"].endswith("/caf\\xe9.dcm") and drop["kind"] == "no labels"
    assert "caf\\xe9.dcm" in (Path(report["directory"]) / "manifest.csv").read_text(encoding="utf-8")
