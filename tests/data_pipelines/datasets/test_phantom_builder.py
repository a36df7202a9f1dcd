import dataclasses
import errno
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_pipelines import images, phantom, records
from data_pipelines.datasets import builder_class, open_split
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.built import built_directory
from data_pipelines.datasets.phantom import SEED_STRIDE, PhantomOptions, phantom_record, split_seeds
from data_pipelines.loading.loader import Loader
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES, pathology_index

pytestmark = pytest.mark.portable

OPTIONS = PhantomOptions(train=6, validation=2, test=3, size=64)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom")
    return {"out": out, "report": build("phantom", out=out, options=OPTIONS, workers=1)}


def test_counts_and_files(built):
    assert built["report"]["splits"] == {"train": 6, "validation": 2, "test": 3}
    assert built["report"]["drops"] == []
    directory = built["out"] / "phantom" / "1.0.0"
    assert built["report"]["directory"] == str(directory)
    assert [path.name for path in built["out"].iterdir()] == ["phantom"]
    assert json.loads((directory / "metadata.json").read_text())["size"] == 64


def test_records_are_the_phantoms_in_order(built):
    source = open_split(built["out"], "phantom", "test")
    assert len(source) == 3
    for number, seed in enumerate(split_seeds("test", 3)):
        found, wanted = source[number], phantom_record(seed, split="test", options=OPTIONS)
        records.validate(found)
        assert found["image"] == wanted["image"] and found["report"] == wanted["report"]
        np.testing.assert_array_equal(found["matrix"], wanted["matrix"])
        np.testing.assert_array_equal(found["labels"], wanted["labels"])
        assert [entry["mask"] for entry in found["annotations"]] == [entry["mask"] for entry in wanted["annotations"]]


def test_bytes_do_not_depend_on_workers(built, tmp_path):
    build("phantom", out=tmp_path, options=OPTIONS, workers=2)
    names = sorted(path.name for path in (tmp_path / "phantom" / "1.0.0").iterdir())
    assert names == sorted(path.name for path in (built["out"] / "phantom" / "1.0.0").iterdir())
    for name in names:
        if "array_record" in name or name == "metadata.json":
            parts = [out / "phantom" / "1.0.0" / name for out in (tmp_path, built["out"])]
            assert parts[0].read_bytes() == parts[1].read_bytes(), name


def test_record_says_what_is_drawn_and_what_is_reported():
    drawn = phantom.draw(5, size=96)
    record = phantom_record(5, split="train", options=PhantomOptions(size=96))
    truth = {PATHOLOGIES[i]: int(record["labels"][i]) for i in np.flatnonzero(record["labels"] >= 0)}
    present = {finding.pathology for finding in drawn.findings}
    assert truth == {name: int(name in present) for name in phantom.PATHOLOGIES_DRAWN}
    reported = {(ANATOMIES[a], PATHOLOGIES[p]) for a, p in zip(*np.nonzero(record["matrix"] == 1), strict=True)}
    assert reported == {(anatomy, pathology) for anatomy, pathology, exists in drawn.triplets if exists}
    findings = [entry for entry in record["annotations"] if entry["pathology"] >= 0]
    assert record["annotations"][: len(findings)] == findings
    for entry, finding in zip(findings, drawn.findings, strict=True):
        assert entry["pathology"] == pathology_index(finding.pathology)
        assert ANATOMIES[entry["anatomy"]] == finding.anatomy
        np.testing.assert_array_equal(images.decode_grey(entry["mask"], name="mask") > 0, finding.mask)


def test_regions_are_annotations_of_anatomies_and_findings_stay_what_they_were():
    seed = next(seed for seed in range(99) if not phantom.draw(seed, size=64).findings)
    drawn = phantom.draw(seed, size=96)
    record = phantom_record(seed, split="train", options=PhantomOptions(size=96))
    assert [ANATOMIES[entry["anatomy"]] for entry in record["annotations"]] == list(drawn.regions)
    assert {entry["pathology"] for entry in record["annotations"]} == {-1}
    assert record["labels"].max() == 0
    for entry, mask in zip(record["annotations"], drawn.regions.values(), strict=True):
        np.testing.assert_array_equal(images.decode_grey(entry["mask"], name="mask"), mask * 255)
        np.testing.assert_allclose(entry["box"], phantom.bounds(mask))
    assert sum(len(entry["mask"]) for entry in record["annotations"]) < 2000


def test_png_option_is_lossless():
    record = phantom_record(1, split="train", options=PhantomOptions(size=64, image_format="png"))
    np.testing.assert_array_equal(images.read_grey(record["image"]), phantom.draw(1, size=64).image)


def test_splits_share_no_seed():
    seeds = [set(split_seeds(split, 1000)) for split in ("train", "validation", "test")]
    assert len(set.union(*seeds)) == 3000
    assert split_seeds("train", SEED_STRIDE)[-1] < split_seeds("validation", 1)[0]


def test_source_feeds_the_loader_and_survives_pickling(built):
    source = pickle.loads(pickle.dumps(open_split(built["out"], "phantom", "train")))
    batches = list(Loader(source, batch_size=4, image_size=32, train=False))
    np.testing.assert_array_equal(np.concatenate([batch["index"] for batch in batches]), [*range(6), -1, -1])
    np.testing.assert_array_equal(batches[0]["labels"][2], source[2]["labels"])


def test_tensorflow_is_not_imported(built):
    open_split(built["out"], "phantom", "train")[0]
    assert "tensorflow" not in sys.modules


def test_split_can_be_opened_by_path(built):
    assert len(open_split(".", str(built["out"] / "phantom" / "1.0.0"), "validation")) == 2


def test_the_newest_version_is_by_number(tmp_path):
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "dataset_info.json").touch()
    assert built_directory(tmp_path) == tmp_path / "1.10.0"
    assert built_directory(tmp_path / "1.2.0") == tmp_path / "1.2.0"
    assert built_directory(tmp_path / "gone") is None


def test_missing_data_name_the_command(built, tmp_path):
    with pytest.raises(InputError, match=f"medslip data build phantom --out {tmp_path}"):
        open_split(tmp_path, "phantom", "train")
    with pytest.raises(InputError, match="no split 'val'; it has: train, validation, test"):
        open_split(built["out"], "phantom", "val")
    with pytest.raises(InputError, match="unknown data set 'mimic'; one of: phantom, folder"):
        builder_class("mimic")


def test_data_that_cannot_be_replaced_stay(built, tmp_path, monkeypatch):
    final = tmp_path / "phantom"
    shutil.copytree(built["out"] / "phantom", final)
    before = {path.name: path.read_bytes() for path in (final / "1.0.0").iterdir()}
    rename = Path.rename

    def full(source, target):
        if target == final and "building" in str(source):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(InputError, match=r"cannot build there \(No space left on device\)"):
            build("phantom", out=tmp_path, options=dataclasses.replace(OPTIONS, train=1), existing="overwrite")
    assert {path.name: path.read_bytes() for path in (final / "1.0.0").iterdir()} == before
    build("phantom", out=tmp_path, options=dataclasses.replace(OPTIONS, train=1), existing="overwrite")
    assert len(open_split(tmp_path, "phantom", "train")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]  # nothing hidden is left


def test_full_disk_is_named(tmp_path):
    """A limit on the size of files stands in for the disk; in a process of its own, as pytest writes files too."""
    script = (
        # Python does not notice that it wrote half a .pyc, which every later import would stumble over.
        "import resource, sys; sys.dont_write_bytecode = True\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "from medslip_jax.cli import main as cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    flags = ["--train=9", "--validation=1", "--test=1", "--size=64", "--workers=1", f"--out={tmp_path}"]
    ended = subprocess.run(
        [sys.executable, "-c", script, "data", "build", "phantom", *flags], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 2
    expected = f"medslip: {tmp_path}: cannot build there (File too large); make room and run it again"
    assert ended.stderr.splitlines()[-1].startswith(expected)
    assert [path.name for path in tmp_path.iterdir()] == [".phantom-building"]  # what the next run goes on with


def test_existing_data_are_not_touched(built, tmp_path):
    with pytest.raises(InputError, match="exists; choose another --out or add --overwrite"):
        build("phantom", out=built["out"], options=OPTIONS)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there"):
        build("phantom", out=tmp_path / "file", options=OPTIONS)


@pytest.mark.parametrize(
    "changes",
    [
        {"train": 0},
        {"test": SEED_STRIDE + 1},
        {"size": 16},
        {"size": "64"},
        {"train": True},
        {"image_format": "gif"},
    ],
)
def test_options_are_checked(changes):
    with pytest.raises(InputError, match=f"phantom {next(iter(changes))}="):
        PhantomOptions(**changes)


def test_foreign_data_set_is_refused(built, tmp_path):
    directory = tmp_path / "phantom" / "1.0.0"
    shutil.copytree(built["out"] / "phantom" / "1.0.0", directory)
    features = json.loads((directory / "features.json").read_text())
    features["featuresDict"]["features"]["picture"] = features["featuresDict"]["features"].pop("image")
    (directory / "features.json").write_text(json.dumps(features))
    with pytest.raises(InputError, match=r"1.0.0: not made by `medslip data build`"):
        open_split(tmp_path, "phantom", "train")
