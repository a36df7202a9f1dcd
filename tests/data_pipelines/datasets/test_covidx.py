"""On a small tree with lines as in the published lists: patients of two words, a source spelt two ways."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import CONFIGS

from data_pipelines import records
from data_pipelines.datasets import open_split
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.covidx import ROWS, TARGET, CovidX
from data_pipelines.datasets.shared.official import Expected, OfficialOptions, check_download
from data_pipelines.loading.loader import Loader
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.experiment import load_config

CONFIG = CONFIGS / "finetune_classification.py"
LISTS = {
    "train": [
        "3 SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg negative cohen",
        "COVID 1 COVID(1).png positive sirm",
        "3 COVID(2).png positive sirm",
        "419639-003251 MIDRC-RICORD-1C-419639-003251-46647-0.png positive ricord",  # row 4: the file is missing
        "3 COVID(2).png negative sirm",  # row 5: once more
        "5 cut.jpg negative rsna",  # row 6: cut off below
    ],
    "val": ["47c78742 47c78742.png negative rsna"],
    "test": [
        "47c78742 other.png negative rnsa",  # row 8: a patient of the validation split
        "SITE2-000265 MIDRC-RICORD-1C-SITE2-000265-99793-1.png positive ricord",
    ],
}
OPTIONS = OfficialOptions(size=64, partial=True)


def picture(level: int, kind: str) -> bytes:
    ramp = (np.add.outer(np.arange(80), np.arange(96)) + level).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(ramp).convert("RGB" if kind == "JPEG" else "L").save(file, kind)
    return file.getvalue()


def tree(root: Path) -> Path:
    for number, (folder, lines) in enumerate(LISTS.items()):
        (root / folder).mkdir()
        (root / f"{folder}.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())
        for row, line in enumerate(lines):
            file = line.split()[-3]
            data = picture(20 * number + row, "PNG" if file.endswith("png") else "JPEG")
            if row != 3:
                (root / folder / file).write_bytes(data[: len(data) // 2] if file == "cut.jpg" else data)
    (root / "test" / "spare.png").write_bytes(picture(99, "PNG"))
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tree(tmp_path_factory.mktemp("covidx"))
    report = build("covidx", out=root / "out", root=root, options=OPTIONS, workers=1)
    return {"root": root, "report": report}


def records_of(built, split: str) -> list[dict]:
    source = open_split(built["root"] / "out", "covidx", split)
    return [source[i] for i in range(len(source))]


def test_truth_is_a_target_and_no_label(built):
    assert built["report"]["splits"] == {"train": 3, "validation": 1, "test": 2}
    train = records_of(built, "train")
    assert [(record["patient_id"], record["image_id"], record["targets"]) for record in train] == [
        ("cohen/3", "SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0.jpeg", {TARGET: 0}),
        ("sirm/COVID 1", "COVID(1).png", {TARGET: 1}),
        ("sirm/3", "COVID(2).png", {TARGET: 1}),
    ]
    for record in train:
        records.validate(record)
        assert (record["labels"] == -1).all() and (record["matrix"] == -1).all() and record["annotations"] == []
    metadata = json.loads((Path(built["report"]["directory"]) / "metadata.json").read_text())
    assert metadata["targets"] == [TARGET]


def test_what_is_left_out_is_listed_by_kind(built):
    found = [(drop["row"], drop["file"], drop["kind"]) for drop in built["report"]["drops"]]
    assert found == [
        (4, "train/MIDRC-RICORD-1C-419639-003251-46647-0.png", "missing image"),
        (5, "train/COVID(2).png", "duplicate id"),
        (6, "train/cut.jpg", "unreadable image"),
    ]
    reasons = [drop["reason"] for drop in built["report"]["drops"]]
    assert reasons[0] == "train.txt row 4: no such file"
    assert reasons[1] == "train.txt row 5: COVID(2).png is in train.txt row 3 already, with the other class"
    lines = (Path(built["report"]["directory"]) / "manifest.csv").read_text().splitlines()
    assert len(lines) == 10
    assert lines[2].startswith(f"2,train/COVID(1).png,train,sirm/COVID 1,{TARGET},")
    assert lines[7].startswith("7,val/47c78742.png,validation,rsna/47c78742,,")


def test_shared_patients_and_unlisted_files_are_noted(built):
    notes = built["report"]["notes"]
    assert "test.txt: 1 files of test/ are in no line, such as test/spare.png; left out" in notes
    shared = "1 patients are in more than one official split, such as rsna/47c78742 (val.txt row 1, test.txt row 1)"
    assert shared in notes


def test_loader_reads_it_without_the_target(built):
    source = open_split(built["root"] / "out", "covidx", "test")
    (batch,) = Loader(source, batch_size=2, image_size=32, train=False)
    assert TARGET not in batch and "targets" not in batch and (batch["labels"] == -1).all()
    assert [source[int(i)]["targets"][TARGET] for i in batch["index"]] == [0, 1]


def test_bytes_do_not_depend_on_workers(built, tmp_path):
    report = build("covidx", out=tmp_path, root=built["root"], options=OPTIONS, workers=2)
    for name in {path.name for path in Path(report["directory"]).iterdir()} - {"dataset_info.json"}:
        first, second = (Path(found["directory"]) / name for found in (built["report"], report))
        assert first.read_bytes() == second.read_bytes(), name


def test_other_data_sets_keep_their_schema():
    assert set(records.features()) == set(records.KEYS) and "targets" in records.features(["targets"])


@pytest.mark.parametrize("targets", [{"pneumonia": 1}, {TARGET: 2}, {TARGET: True}])
def test_targets_are_checked(built, targets):
    record = records_of(built, "test")[0]
    with pytest.raises(InputError, match=r"target '.*expected -1, 0 or 1 and a name that is none of the classes"):
        records.encode(record | {"targets": targets})


@pytest.mark.parametrize(
    ("line", "row"),
    [("5 a.png maybe rsna", 1), ("a.png positive rsna", 1), ("\n5 a.png  rsna", 2), ("patient,a.png,positive,rsna", 1)],
)
def test_malformed_line_is_named(tmp_path, line, row):
    (tree(tmp_path) / "val.txt").write_text(line)
    with pytest.raises(InputError, match=rf"val.txt: row {row}: .*expected patient file class source"):
        CovidX.plan(root=tmp_path, options=OPTIONS)


def test_policy_fail_stops_at_the_first(tmp_path):
    with pytest.raises(InputError, match=r"train.txt row 4: no such file; repair it or build with policy skip"):
        CovidX.plan(root=tree(tmp_path), options=OPTIONS, policy="fail")


def test_official_lengths(tmp_path, monkeypatch):
    assert sum(ROWS.values()) == 84_818
    root = tree(tmp_path)
    here = [Expected(e.pattern, len(list(root.glob(e.pattern)))) for e in CovidX.EXPECTED]
    monkeypatch.setattr(CovidX, "EXPECTED", tuple(here))
    with pytest.raises(InputError, match=r"train.txt: 6 rows, the official release has 67863"):
        CovidX.plan(root=root, options=OfficialOptions())


def test_command_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "covidx").mkdir()
    root = tree(tmp_path / "covidx")
    assert main.main(["data", "check", "covidx", "--root", str(root)]) == 1
    assert "differs  train/*.*       4 of 67863" in capsys.readouterr().out
    flags = ["data", "build", "covidx", "--root", str(root), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main.main(flags) == 2
    assert "4 files, the official release has 67863; complete it" in capsys.readouterr().err
    assert main.main([*flags, "--partial", "--size", "32"]) == 0
    output = capsys.readouterr().out
    assert "covidx/1.0.0: train 3, validation 1, test 2" in output and "  1 missing image" in output
    here = [Expected(e.pattern, len(list(root.glob(e.pattern)))) for e in CovidX.EXPECTED]
    monkeypatch.setattr(CovidX, "EXPECTED", tuple(here))
    assert main.main(["data", "check", "covidx", "--root", str(root)]) == 0


def test_fine_tuning_asks_for_the_target_that_a_build_stores():
    assert load_config([f"--config={CONFIG}:data=covidx"]).targets == (TARGET,)


def test_what_macos_leaves_and_names_that_are_not_utf_8(tmp_path):
    tree(tmp_path)
    for name in (b"._47c78742.png", b".DS_Store", b"caf\xe9.png"):
        Path(os.fsdecode(os.fsencode(tmp_path / "val") + b"/" + name)).write_bytes(b"")
    (found,) = [one for one in check_download(tmp_path, CovidX.EXPECTED) if one.expected.pattern.startswith("val/")]
    assert found.found == 2
    report = build("covidx", out=tmp_path / "out", root=tmp_path, options=OPTIONS, workers=1)
    (note,) = [note for note in report["notes"] if note.startswith("val.txt")]
    assert note == "val.txt: 1 files of val/ are in no line, such as val/caf\\xe9.png; left out"
