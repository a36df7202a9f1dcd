"""Digests: every file of a checkpoint, harmed in every way, is named."""

import json
import shutil
import threading
import time
from importlib.metadata import version

import numpy as np
import pytest
from etils import epath
from tiny_state import CONFIG, HARMS, array_data, cut, flip, new_run, remove, save, tiny_state

from medslip_jax.checkpoints import manager
from medslip_jax.checkpoints.integrity import DIGESTS, damage
from medslip_jax.checkpoints.manager import Checkpoints, write_model
from medslip_jax.errors import InputError

STAMPED = "_CHECKPOINT_METADATA"
# An empty formality of Orbax's, written last, that nothing reads.
FREE = "commit_success.txt"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return new_run(tmp_path_factory.mktemp("run"), 3) / "3"


@pytest.fixture
def written(original, tmp_path):
    return shutil.copytree(original, tmp_path / "3")


def names(directory) -> list[str]:
    files = sorted(f.relative_to(directory).as_posix() for f in directory.rglob("*") if f.is_file())
    assert {DIGESTS, STAMPED, "config/metadata", "loader/metadata", "metrics/metrics"} <= set(files)
    assert {f"{item}/manifest.ocdbt" for item in ("model", "optimizer")} <= set(files)
    return files


def test_intact(written):
    (written / "books.npz").write_text("of later")
    assert damage(written) is None


@pytest.mark.parametrize("harm", HARMS)
def test_every_file_is_covered(written, harm):
    for name in set(names(written)) - {FREE, DIGESTS}:
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
    for name in set(names(written)) - {FREE, STAMPED}:
        file = written / name
        data = file.read_bytes()
        for _ in range(10):
            bad = bytearray(data)
            bad[rng.integers(len(data))] ^= 1 << rng.integers(8)
            file.write_bytes(bad)
            assert damage(written), name
        file.write_bytes(data)


def test_every_byte_of_the_stamped_file(written):
    """Only its time may change, by less than an hour: it is written after the digests."""
    file = written / STAMPED
    data = file.read_bytes()
    stamp = json.loads(data)["commit_timestamp_nsecs"]
    unseen = 0
    for i in range(len(data)):
        file.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        if damage(written) is None:
            unseen += 1
            assert 0 < abs(json.loads(file.read_bytes())["commit_timestamp_nsecs"] - stamp) < 3600e9
    assert unseen <= 13, "nanoseconds up to 1,000 seconds"


def test_only_what_is_asked_for(written):
    flip(array_data(written / "optimizer"))
    assert damage(written, items=("model", "config")) is None
    assert damage(written, items=("optimizer",))


@pytest.mark.parametrize(
    ("harm", "name", "found"),
    [
        (cut, "data", "model: cannot be read"),
        (remove, "data", "model: cannot be read"),
        (cut, "model/manifest.ocdbt", "model: cannot be read"),
        (remove, "optimizer/manifest.ocdbt", "optimizer: cannot be read"),
        (cut, "loader/metadata", "loader: cannot be read"),
        (remove, "config/metadata", "config: cannot be read"),
        (lambda directory: None, ".", None),
    ],
)
def test_checkpoints_of_before_there_were_digests(written, harm, name, found):
    (written / DIGESTS).unlink()
    harm(array_data(written / "model") if name == "data" else written / name)
    assert damage(written) is None if found is None else damage(written).startswith(found)


def test_metadata_that_orbax_writes_in_another_thread_is_waited_for(tmp_path, monkeypatch):
    paths = type(epath.Path(tmp_path))  # Orbax writes through it
    write_text, threads = paths.write_text, set()

    def slow(self, *args, **kwargs):
        if self.name == STAMPED:
            threads.add(threading.current_thread())
            time.sleep(0.3)
        return write_text(self, *args, **kwargs)

    monkeypatch.setattr(paths, "write_text", slow)
    directory = new_run(tmp_path, 1, 2)
    assert [damage(directory / name) for name in "12"] == [None, None]
    assert threads - {threading.main_thread()}, f"orbax-checkpoint {version('orbax-checkpoint')} writes it otherwise"


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
