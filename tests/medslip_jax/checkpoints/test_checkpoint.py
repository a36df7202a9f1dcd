"""A run's checkpoints: saved in the background, whole or not at all, and never trusted blindly."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import pytest
from places import HELPERS
from tiny_state import CONFIG, HARMS, array_data, flip, new_run, remove, restored, same, save, tiny_state

from medslip_jax.checkpoints import (
    Checkpoints,
    find_checkpoint,
    find_latest,
    manager,
    read_config,
    read_info,
    read_variables,
    write_model,
)
from medslip_jax.errors import InputError

pytestmark = pytest.mark.portable

KINDS = {
    "parameters": lambda d: array_data(d / "model"),
    "their index": lambda d: d / "model" / "manifest.ocdbt",
    "their layout": lambda d: d / "model" / "_METADATA",
    "optimizer": lambda d: array_data(d / "optimizer"),
    "its index": lambda d: d / "optimizer" / "manifest.ocdbt",
    "config": lambda d: d / "config" / "metadata",
    "loader": lambda d: d / "loader" / "metadata",
    "metrics": lambda d: d / "metrics" / "metrics",
}


def cpu():
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def there(directory: Path) -> set[str]:
    return {d.name for d in directory.iterdir()}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_newest_is_named_and_the_one_before_is_used(tmp_path, capsys, kind, harm):
    directory = new_run(tmp_path, 1, 2, 3)
    file = KINDS[kind](directory / "3")
    harm(file)
    checkpoints = Checkpoints(tmp_path, keep=9, best_metric="val_auroc")
    assert checkpoints.latest() == 2 and restored(checkpoints) == 2
    note = capsys.readouterr().err
    assert note.startswith(f"note: {directory / '3'} is damaged ({file.relative_to(directory / '3')}: ")
    assert note.endswith("; going on from 2\n") and note.count("\n") == 1
    assert there(directory) == {"1", "2", "3.damaged"} and find_latest(tmp_path) == directory / "2"
    save(checkpoints, 3)
    assert restored(checkpoints) == 3
    checkpoints.close()
    assert there(directory) == {"1", "2", "3", "3.damaged"} and capsys.readouterr().err == ""


def test_damaged_again(tmp_path, capsys):
    directory = new_run(tmp_path, 1)
    for name in ("2.damaged", "2.damaged-2"):
        new_run(tmp_path, 2)
        flip(array_data(directory / "2" / "model"))
        Checkpoints(tmp_path).close()
        assert f"now called {name}; going on from 1" in capsys.readouterr().err
    assert there(directory) == {"1", "2.damaged", "2.damaged-2"}


def test_several_damaged(tmp_path, capsys):
    directory = new_run(tmp_path, 1, 2, 3, 4)
    remove(directory / "4" / "loader" / "metadata")
    flip(array_data(directory / "3" / "optimizer"))
    checkpoints = Checkpoints(tmp_path)
    assert restored(checkpoints) == 2
    checkpoints.close()
    assert there(directory) == {"1", "2", "3.damaged", "4.damaged"}
    assert capsys.readouterr().err.count("going on from 2\n") == 2


def test_all_damaged(tmp_path):
    """Nothing is renamed: the next start must not take the run for a new one."""
    directory = new_run(tmp_path, 1, 2)
    remove(directory / "1" / "model" / "_METADATA")
    flip(directory / "2" / "loader" / "metadata")
    for _ in range(2):
        with pytest.raises(InputError, match=r"every checkpoint is damaged \(2: loader/.*; 1: model/_METADATA: is m"):
            Checkpoints(tmp_path)
        assert there(directory) == {"1", "2"}


def test_damaged_while_the_run_goes_on(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1, 2)
    flip(array_data(checkpoints.directory / "2" / "model"))
    assert restored(checkpoints) == 1
    checkpoints.close()


def test_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() is None
    with pytest.raises(InputError, match="holds no checkpoint"):
        restored(checkpoints)
    checkpoints.close()


def test_broken_metrics_of_an_older_one_do_not_stop_a_run(tmp_path, capsys):
    directory = new_run(tmp_path, 1, 2, 3)
    (directory / "1" / "metrics" / "metrics").write_text("{")
    checkpoints = Checkpoints(tmp_path)
    assert restored(checkpoints) == 3
    checkpoints.close()
    assert there(directory) == {"1.damaged", "2", "3"}
    assert capsys.readouterr().err.startswith(f"note: {directory / '1'} is damaged (metrics/metrics: 1 bytes in")


@pytest.mark.parametrize("harm", HARMS)
def test_evaluation_judges_no_older_one_in_silence(tmp_path, harm):
    directory = new_run(tmp_path, 1, 2, 3)
    remove(directory / "2" / "config" / "metadata")
    newest = find_checkpoint(tmp_path)
    assert newest == directory / "3"
    file = array_data(newest / "model")
    harm(file)
    advice = rf"; {directory / '1'} is intact: give that path to use it instead$"
    with pytest.raises(InputError, match=rf"^{newest}: cannot be read \({file.relative_to(newest)}: .*\){advice}"):
        read_variables(newest, sharding=cpu())
    harm(newest / "config" / "metadata")
    with pytest.raises(InputError, match=rf"config/metadata: cannot read the checkpoint's config \(.*\){advice}"):
        read_config(newest)
    assert same(read_variables(find_checkpoint(directory / "1"), sharding=cpu()), tiny_state(1).ema)
    with pytest.raises(InputError, match=r"; there is no older one that is intact$"):
        remove(directory / "1" / "model" / "manifest.ocdbt")
        read_variables(newest, sharding=cpu())


def test_a_changed_value_of_the_config_is_seen(tmp_path):
    """It is JSON still."""
    file = new_run(tmp_path, 1) / "1" / "config" / "metadata"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="other bytes than were written"):
        read_config(find_checkpoint(tmp_path))


def test_evaluation_does_not_ask_for_the_optimizer(tmp_path):
    directory = new_run(tmp_path, 1)
    flip(array_data(directory / "1" / "optimizer"))
    assert same(read_variables(find_checkpoint(tmp_path), sharding=cpu()), tiny_state(1).ema)


def test_a_changed_description_is_seen(tmp_path):
    state = tiny_state(0)
    model = {"params": state.params, "batch_stats": state.batch_stats}
    write_model(tmp_path / "m", model, config=CONFIG, info={"best": {"value": 0.5}})
    assert read_info(tmp_path / "m") == {"best": {"value": 0.5}}
    (tmp_path / "m" / "info" / "metadata").write_text('{"best": {"value": 0.9}}')
    with pytest.raises(InputError, match="other bytes than were written"):
        read_info(tmp_path / "m")


def test_a_number_beside_the_checkpoints_is_none_of_them(tmp_path):
    """Such as runs by seed: a run that starts there has to see that it starts, or it would not read its init_from."""
    (tmp_path / "7" / "checkpoints").mkdir(parents=True)
    assert find_latest(tmp_path) is None
    directory = new_run(tmp_path, 2)
    assert find_latest(tmp_path) == find_checkpoint(tmp_path) == find_checkpoint(directory) == directory / "2"


@pytest.mark.parametrize("harm", HARMS)
def test_what_orbax_keeps_beside_the_items_is_not_needed(tmp_path, harm):
    harm(new_run(tmp_path, 1, 2) / "2" / "_CHECKPOINT_METADATA")
    checkpoints = Checkpoints(tmp_path, keep=1, best_metric="val_auroc")
    assert restored(checkpoints) == 2
    save(checkpoints, 3)
    assert restored(checkpoints) == 3
    checkpoints.close()


def test_half_written_ones_are_ignored_and_removed(tmp_path):
    directory = new_run(tmp_path, 1, 2)
    (directory / "3.orbax-checkpoint-tmp" / "model").mkdir(parents=True)
    (directory / "3.orbax-checkpoint-tmp" / "model" / "half").write_text("half")
    assert find_checkpoint(tmp_path) == directory / "2"
    checkpoints = Checkpoints(tmp_path)
    assert restored(checkpoints) == 2
    save(checkpoints, 3)
    checkpoints.close()
    assert there(directory) == {"2", "3"}


KILLED = """
import sys, time
from pathlib import Path
from tiny_state import save
from medslip_jax.checkpoints import manager as checkpoint
checkpoints = checkpoint.Checkpoints(sys.argv[1])
save(checkpoints, 1)
write = checkpoint.write_digests
def hang(directory):
    write(directory)
    Path(sys.argv[2]).touch()
    time.sleep(600)
checkpoint.write_digests = hang
save(checkpoints, 2)
"""


def test_killed_just_before_the_checkpoint_gets_its_name(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(HELPERS)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "run", tmp_path / "now"], env=environment)
    deadline = time.monotonic() + 300
    while not (tmp_path / "now").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    directory = tmp_path / "run" / "checkpoints"
    assert there(directory) == {"1", "2.orbax-checkpoint-tmp"} and find_latest(tmp_path / "run") == directory / "1"
    checkpoints = Checkpoints(tmp_path / "run")
    assert restored(checkpoints) == 1
    save(checkpoints, 2, 3)
    checkpoints.close()
    assert there(directory) == {"2", "3"}


def test_saving_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    """And the one before is deleted only when the new one is complete."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 1)
    write, slow = manager.write_digests, threading.Event()
    monkeypatch.setattr(manager, "write_digests", lambda directory: slow.wait(60) and write(directory))
    checkpoints.save(tiny_state(2), step=2, loader_state={"batch": 2}, config=CONFIG)
    assert {"1"} <= there(checkpoints.directory) <= {"1", "2.orbax-checkpoint-tmp"}
    slow.set()
    checkpoints.wait()
    assert there(checkpoints.directory) == {"2"} and restored(checkpoints) == 2
    checkpoints.close()


def test_errors_are_printed_as_before_but_for_the_time_of_a_save(tmp_path):
    def hooks():
        return sys.unraisablehook, list(logging.getLogger("absl").filters)

    before = hooks()
    checkpoints = Checkpoints(tmp_path)
    assert hooks() == before
    checkpoints.save(tiny_state(1), step=1, loader_state={}, config=CONFIG)
    assert hooks() != before
    checkpoints.wait()
    assert hooks() == before
    checkpoints.close()
