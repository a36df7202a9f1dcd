"""Digests: every file of a checkpoint, harmed in every way, is named."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from tiny_state import CONFIG, HARMS, array_data, cut, flip, new_run, remove, save, tiny_state

from medslip_jax.checkpoints import Checkpoints, manager, write_model
from medslip_jax.checkpoints.integrity import DIGESTS, damage
from medslip_jax.errors import InputError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return new_run(tmp_path_factory.mktemp("run"), 3) / "3"


@pytest.fixture
def written(original, tmp_path):
    return shutil.copytree(original, tmp_path / "3")


def names(directory) -> list[str]:
    """Of the items' files."""
    files = sorted(f.relative_to(directory).as_posix() for f in directory.glob("*/**/*") if f.is_file())
    assert {"config/metadata", "loader/metadata", "metrics/metrics"} <= set(files)
    assert {f"{item}/manifest.ocdbt" for item in ("model", "optimizer")} <= set(files)
    return files


def test_intact(written):
    (written / "books.npz").write_text("of later")
    assert damage(written) is None


@pytest.mark.parametrize("harm", HARMS)
def test_every_file_is_covered(written, harm):
    for name in names(written):
        file = written / name
        data = file.read_bytes()
        harm(file)
        assert (damage(written) or "").startswith(f"{name}: "), name
        file.write_bytes(data)
    assert damage(written) is None


@pytest.mark.parametrize("harm", [flip, cut])
def test_digests_are_covered_too(written, harm):
    harm(written / DIGESTS)
    assert damage(written) == f"{DIGESTS}: other bytes than were written"


def test_how_is_said(written):
    data = array_data(written / "model")
    size, name = data.stat().st_size, data.relative_to(written).as_posix()
    flip(data)
    assert damage(written) == f"{name}: other bytes than were written"
    cut(data)
    assert damage(written) == f"{name}: {size // 2} bytes in place of {size}"
    remove(data)
    assert damage(written) == f"{name}: is missing"


def test_random_bits_of_every_file(written):
    rng = np.random.default_rng(0)
    for name in [DIGESTS, *names(written)]:
        file = written / name
        data = file.read_bytes()
        for _ in range(10):
            bad = bytearray(data)
            bad[rng.integers(len(data))] ^= 1 << rng.integers(8)
            file.write_bytes(bad)
            assert damage(written), name
        file.write_bytes(data)


def test_only_what_is_asked_for(written):
    flip(array_data(written / "optimizer"))
    assert damage(written, items=("model", "config")) is None
    assert damage(written, items=("optimizer",))


def test_without_digests_nobody_knows(written):
    (written / DIGESTS).unlink()
    cut(array_data(written / "model"))
    assert damage(written) is None


def test_digests_of_an_earlier_version(written):
    """They had a time, and one of a file beside the items, taken without what changes in it."""
    content = json.loads((written / DIGESTS).read_text())
    del content["sha256"]
    content["written"] = 1785495600000000000
    content["files"] |= {"_CHECKPOINT_METADATA": {"sha256": "0" * 64}}
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (written / DIGESTS).write_text(json.dumps(content, indent=0))
    assert damage(written) is None
    flip(written / "loader" / "metadata")
    assert damage(written) == "loader/metadata: other bytes than were written"


def test_no_checkpoint_gets_its_name_without_digests(tmp_path, monkeypatch):
    directory = new_run(tmp_path, 1)

    def fail(unfinished):
        assert unfinished.name.startswith("2.") and not (directory / "2").exists()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(manager, "write_digests", fail)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InputError, match=r"^checkpoint 2 in .* \(.*Input/output error\); the last good one is 1$"):
        save(checkpoints, 2)
    checkpoints.close()
    assert [d.name for d in directory.iterdir()] == ["1"]


def test_converted_models_have_them(tmp_path):
    state = tiny_state(0)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    write_model(tmp_path / "m", variables, config=CONFIG, info={"a": 1})
    assert damage(tmp_path / "m", items=("model", "config", "info")) is None
    flip(array_data(tmp_path / "m" / "model"))
    assert damage(tmp_path / "m", items=("model",))
