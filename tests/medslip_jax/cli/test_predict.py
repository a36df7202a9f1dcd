import csv
import json
import os
import re
import shutil
from typing import get_args, get_type_hints

import cv2
import numpy as np
import pytest
from PIL import Image

from data_pipelines import images, phantom
from data_pipelines.images import ImagePolicy
from medslip_jax.cli import main
from medslip_jax.cli import predict as predict_verb
from medslip_jax.errors import InputError
from medslip_jax.evaluation.prediction import find_images, predict
from medslip_jax.models import Classifier, ClassifierConfig, MeDSLIP, Segmenter, SegmenterConfig
from medslip_jax.models.kinds import initial_variables
from medslip_jax.testing import tiny_books, tiny_config
from medslip_jax.vocabulary import PATHOLOGIES
from medslip_jax.weights.loading import Pretrained, load


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny model with random weights as a directory of save_pretrained, for images of 64 pixels."""
    directory = tmp_path_factory.mktemp("model") / "m"
    config = tiny_config()
    info = {
        "preprocessing": {"image_size": 64},
        "experiment": {"data": {"image_size": 64}, "books": {"tables": "as_is"}},
    }
    module = MeDSLIP(config)
    module.save_pretrained(
        directory, variables=initial_variables(config), books=tiny_books(), info=info, license="cc0-1.0"
    )
    return directory


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five phantoms of different sizes, and a text file that claims to be a PNG."""
    directory = tmp_path_factory.mktemp("pictures")
    for seed in range(5):
        grey = phantom.draw(seed, size=64 + 16 * seed).image
        (directory / f"{seed}.png").write_bytes(images.encode_grey(grey, kind="png"))
    (directory / "2b.png").write_text("no picture")
    return directory


def _rows(out):
    with (out / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_bad_file_is_listed_and_the_rest_goes_on(saved, pictures, tmp_path, capsys):
    command = ["predict", f"--checkpoint={saved}", f"--images={pictures}", f"--out={tmp_path}", "--batch_size=2"]
    assert main.main([*command, "--overlays=2"]) == 1
    assert "5 of 6 images" in capsys.readouterr().out
    rows = _rows(tmp_path)
    assert [row["file"].rsplit("/", 1)[1] for row in rows] == ["0.png", "1.png", "2.png", "2b.png", "3.png", "4.png"]
    assert "2b.png: not a readable" in rows[3]["error"] and rows[3]["effusion"] == ""
    assert all(0 <= float(row["effusion"]) <= 1 for row in rows if not row["error"])
    overlays = sorted((tmp_path / "overlays").iterdir())
    assert len(overlays) == 10
    assert cv2.imread(str(overlays[-1])).shape == (128, 128, 3)
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("<article") == 5 and "2b.png: not a readable" in page
    assert not re.search(r'src="(?!data:)|https?://', page)


def test_a_second_call_leaves_nothing_of_the_first(saved, pictures, tmp_path, capsys):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("0.png", "1.png"):
        shutil.copy(pictures / name, scans)
    out = scans / "out"
    command = ["predict", f"--checkpoint={saved}", f"--out={out}", "--overlays=1"]
    assert main.main([*command, f"--images={scans}"]) == 0
    first = {path.name for path in (out / "overlays").iterdir()}
    assert len(first) == 2 and len(_rows(out)) == 2
    # Overlays are PNG files below the same directory, and no X-rays.
    assert main.main([*command, f"--images={scans}", "--format=json"]) == 0
    assert len(json.loads((out / "predictions.json").read_text())) == 2
    assert main.main([*command, f"--images={scans / '1.png'}", "--format=json"]) == 0
    assert [path.name[:8] for path in (out / "overlays").iterdir()] == ["00000_1_"]
    assert sorted(path.name for path in out.iterdir()) == ["overlays", "predictions.json", "sheet.html"]
    # A call that fails leaves the earlier results as they were.
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main.main([*command, f"--images={pictures / '2b.png'}"]) == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_probabilities_do_not_depend_on_the_batch(saved, pictures):
    pretrained, files = load(saved)["pretrained"], find_images(str(pictures))
    tables = [
        np.array([p.outputs["pathology_probability"] for p in predict(pretrained, files, batch_size=n) if not p.error])
        for n in (1, 4)
    ]
    np.testing.assert_allclose(*tables, atol=1e-6)
    batch = np.stack([images.squash(images.read_grey(f), 64) for f in files if f.name != "2b.png"])
    logits = np.asarray(pretrained(batch)["pathology"]["logits"])
    np.testing.assert_allclose(tables[0], 1 / (1 + np.exp(logits[..., 0] - logits[..., 1])), atol=1e-6)


def test_chosen_classes_and_json(saved, pictures, tmp_path):
    command = ["predict", f"--checkpoint={saved}", f"--images={pictures}/[01].png", f"--out={tmp_path}"]
    assert main.main([*command, "--classes=effusion,mass", "--format=json"]) == 0
    rows = json.loads((tmp_path / "predictions.json").read_text())
    assert len(rows) == 2 and set(PATHOLOGIES) < set(rows[0])
    assert {file.stem.split("_", 2)[2] for file in (tmp_path / "overlays").iterdir()} == {"effusion", "mass"}


@pytest.mark.parametrize(
    ("config", "column"),
    [
        (ClassifierConfig(backbone="resnet18", trunk_width=8, num_classes=2), "edema"),
        (SegmenterConfig(backbone="resnet18", trunk_width=8), "share:../mass/nodule"),
    ],
    ids=["classifier", "segmenter"],
)
def test_fine_tuned_models(config, column, pictures, tmp_path):
    module = (Classifier if isinstance(config, ClassifierConfig) else Segmenter)(config)
    info = {"classes": {"targets": ["../mass/nodule", "edema"][: config.num_classes]}}
    module.save_pretrained(tmp_path / "m", variables=initial_variables(config), info=info, license="cc0-1.0")
    command = ["predict", f"--checkpoint={tmp_path / 'm'}", f"--images={pictures / '0.png'}", f"--out={tmp_path / 'o'}"]
    assert main.main(command) == 0
    assert 0 <= float(_rows(tmp_path / "o")[0][column]) <= 1
    drawn = ["00000_0_.._mass_nodule.png"] if isinstance(config, SegmenterConfig) else []
    assert [file.name for file in (tmp_path / "o" / "overlays").iterdir()] == drawn


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images=nowhere/*.png"], "no image file there"),
        (["--images={bad}"], "not one file could be read"),
        (["--images={good}", "--classes=effusion,luck"], "has no class 'luck'"),
        (["--images={good}", "--batch_size=0"], "--batch_size must be at least 1"),
    ],
)
def test_bad_input(flags, message, saved, pictures, tmp_path, capsys):
    names = {"bad": pictures / "2b.png", "good": pictures / "0.png"}
    flags = [flag.format(**names) for flag in flags]
    assert main.main(["predict", f"--checkpoint={saved}", f"--out={tmp_path}", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_finding_files(pictures, tmp_path):
    assert [file.name for file in find_images(str(pictures / "?.png"))] == [f"{i}.png" for i in range(5)]
    (tmp_path / "export").mkdir()
    for name in ("IM0001", "b.dcm", "notes.txt", ".hidden"):
        (tmp_path / "export" / name).write_text("")
    assert [file.name for file in find_images(str(tmp_path))] == ["IM0001", "b.dcm"]
    with pytest.raises(InputError, match="no image file there"):
        find_images(str(tmp_path / "export" / "*.png"))
    # Up to Python 3.12 no pattern at all, later one that fits nothing.
    with pytest.raises(InputError, match=r"not a path or a pattern|no image file there"):
        find_images(str(tmp_path / "**b" / "*.png"))


def test_what_macos_leaves_beside_images_is_none(saved, pictures, tmp_path):
    scans = tmp_path / "scans"
    (scans / "__MACOSX").mkdir(parents=True)
    shutil.copy(pictures / "0.png", scans)
    for name in ("._0.png", ".DS_Store", "__MACOSX/._0.png", "__MACOSX/1.png"):
        (scans / name).write_bytes(b"\0\5\x16\7")
    for where in (scans, scans / "*.png", scans / "*", scans / "**" / "*.png"):
        assert find_images(str(where)) == [scans / "0.png"], where
    command = ["predict", f"--checkpoint={saved}", f"--images={scans}/*.png", f"--out={tmp_path / 'out'}"]
    assert main.main([*command, "--overlays=0"]) == 0


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_name_that_is_not_utf_8_is_one_of_many(saved, pictures, tmp_path, form, capsys):
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(pictures / "0.png", scans / "a.png")
    shutil.copy(pictures / "1.png", os.fsencode(scans) + b"/b\xe9.png")
    shutil.copy(pictures / "2b.png", os.fsencode(scans) + b"/c\xe9.png")  # no picture either
    command = ["predict", f"--checkpoint={saved}", f"--images={scans}", f"--out={tmp_path / 'out'}", "--overlays=1"]
    assert main.main([*command, f"--format={form}"]) == 1
    table = tmp_path / "out" / f"predictions.{form}"
    rows = _rows(tmp_path / "out") if form == "csv" else json.loads(table.read_text(encoding="utf-8"))
    assert [row["file"].rpartition("/")[2] for row in rows] == ["a.png", "b\\xe9.png", "c\\xe9.png"]
    assert rows[0]["notes"] == "" and "its name is not UTF-8" in rows[1]["notes"]
    assert 0 <= float(rows[1]["effusion"]) <= 1 and "c\\xe9.png: not a readable" in rows[2]["error"]
    assert "b\\xe9.png" in (tmp_path / "out" / "sheet.html").read_text(encoding="utf-8")
    assert "c\\xe9.png: not a readable" in capsys.readouterr().out


def test_every_option_of_the_image_policy_is_a_flag(saved, tmp_path):
    known = {action.dest: action.choices for action in predict_verb._parser()._actions}
    for name, kind in get_type_hints(ImagePolicy).items():
        assert known[name] == get_args(kind), name
    deep = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    command = ["predict", f"--checkpoint={saved}", f"--images={tmp_path / 'deep.png'}", f"--out={tmp_path}"]
    seen = {}
    for flags in ((), ("--sixteen_bit=stretch",), ("--sixteen_bit=stretch", "--polarity=inverted")):
        assert main.main([*command, "--overlays=0", *flags]) == 0
        (row,) = _rows(tmp_path)
        seen[flags] = re.findall(r'src="(data:[^"]+)', (tmp_path / "sheet.html").read_text())[0]  # the picture
        assert ("--sixteen_bit stretch" in row["notes"]) == (flags == ())
    assert len(set(seen.values())) == 3


def test_a_strip_is_refused_and_not_the_whole_call(saved, pictures, tmp_path):
    strip = images.encode_grey(np.zeros((4, 200), np.uint8), kind="png")
    (tmp_path / "strip.png").write_bytes(strip)
    found = predict(
        load(saved)["pretrained"], [tmp_path / "strip.png", pictures / "0.png"], policy=ImagePolicy(resize="short_side")
    )
    first, second = list(found)
    assert "one side is over 16 times the other" in first.error and second.outputs


def test_model_without_text_tables(pictures):
    config = tiny_config()
    bare = Pretrained(config, initial_variables(config), None, {"preprocessing": {"image_size": 64}})
    with pytest.raises(InputError, match="text"):
        list(predict(bare, [pictures / "0.png"]))
