import json

import numpy as np
import pytest

from data_pipelines import images
from data_pipelines.datasets import open_split
from medslip_jax.cli import main

PHANTOM = ["data", "build", "phantom", "--size", "64", "--train", "3", "--validation", "1", "--test", "1"]


def folder(root) -> list[str]:
    (root / "labels.csv").write_text("image,findings\na.png,Effusion\nb.png,Effusion|Mass\nc.png,Mass\n")
    for name in ("a", "b"):
        (root / f"{name}.png").write_bytes(images.encode_grey(np.full((80, 90), 100, np.uint8), kind="png"))
    options = {
        "columns": {"image": "image", "labels": "findings"},
        "split_fractions": {"train": 1.0},
        "notes": "made by a test",
    }
    (root / "options.json").write_text(json.dumps(options))
    return [
        "data",
        "build",
        "folder",
        "--root",
        str(root),
        "--options",
        str(root / "options.json"),
        "--workers",
        "1",
    ]


def test_phantom_is_built_once_and_rebuilt_on_request(tmp_path, capsys):
    out = ["--out", str(tmp_path / "data")]
    assert main.main(PHANTOM + out) == 0
    assert capsys.readouterr().out.endswith("phantom/1.0.0: train 3, validation 1, test 1\n")
    assert len(open_split(tmp_path / "data", "phantom", "train")) == 3
    assert main.main(PHANTOM + out) == 2
    assert (
        capsys.readouterr().err == f"medslip: {tmp_path}/data/phantom exists; choose another --out or add --overwrite\n"
    )
    assert main.main([*PHANTOM, *out, "--overwrite", "--train", "2"]) == 0
    assert len(open_split(tmp_path / "data", "phantom", "train")) == 2


def test_folder_skips_and_says_so(tmp_path, capsys):
    assert main.main([*folder(tmp_path), "--out", str(tmp_path / "data"), "--size", "64", "--policy", "skip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    directory = tmp_path / "data" / "folder" / "1.0.0"
    assert lines[0] == f"{directory}: train 2"
    assert lines[1] == f"left out 1 rows, all listed in {directory}/drops.json"
    assert lines[2] == "  1 unreadable image"
    assert lines[3].startswith("    row 4 c.png: ") and "No such file" in lines[3]
    assert images.decode_grey(open_split(tmp_path / "data", "folder", "train")[0]["image"], name="a").shape == (64, 72)


def test_notes_are_shown(tmp_path, capsys):
    flags = folder(tmp_path)
    (tmp_path / "labels.csv").write_text("image,findings\n" + "".join(f"{i}.png,Mass\n" for i in range(16)))
    for i in range(16):
        (tmp_path / f"{i}.png").write_bytes(images.encode_grey(np.full((80, 90), 100, np.uint8), kind="png"))
    (tmp_path / "options.json").write_text(
        '{"columns": {"image": "image", "labels": "findings"}, "split_fractions": {"train": 0.5, "test": 0.5}}'
    )
    assert main.main([*flags, "--out", str(tmp_path / "data")]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    found = json.loads((tmp_path / "data" / "folder" / "1.0.0" / "notes.json").read_text())
    assert len(notes) == 6 and len(found) > 6 and "drawn by image" in notes[0] and "same file" in notes[1]
    assert notes[5] == f"note: {len(found) - 5} more in {tmp_path}/data/folder/1.0.0/notes.json"


def test_folder_fails_by_default(tmp_path, capsys):
    assert main.main([*folder(tmp_path), "--out", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert "labels.csv: row 4: " in error and "policy skip" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["phantom", "--root", "."], "--root: not a flag of the phantom data set"),
        (["folder", "--root", ".", "--train", "3"], "--train: not a flag of the folder data set"),
        (["folder", "--root", ".", "--test", "0"], "--test: not a flag of the folder data set"),
        (["folder"], "--root: the folder data set needs"),
        (["phantom", "--train", "0"], "phantom train=0: expected 1 .."),
        (["folder", "--root", ".", "--workers", "0"], "folder workers=0: expected at least 1"),
        (["phantom", "--options", "gone.json"], "gone.json: cannot read the options"),
        (["folder", "--root", "gone"], "gone/labels.csv: cannot read the CSV file"),
    ],
)
def test_bad_flags_end_with_one_line(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    assert main.main(["data", "build", *flags, "--out", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("medslip: " + message) and error.count("\n") == 1


def test_unknown_option_is_named(tmp_path, capsys):
    (tmp_path / "o.json").write_text('{"sizes": 3}')
    flags = ["data", "build", "phantom", "--out", str(tmp_path / "d"), "--options", str(tmp_path / "o.json")]
    assert main.main(flags) == 2
    assert "o.json: unknown option 'sizes' of phantom" in capsys.readouterr().err
