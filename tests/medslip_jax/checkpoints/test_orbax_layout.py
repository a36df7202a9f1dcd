"""What we assume of Orbax's and tensorstore's files and names, against what the installed ones really do.

CONTRIBUTING.md, "What we assume of our dependencies", lists these. A failure names the version and the file of ours.
"""

import json
import re
from importlib.metadata import version
from pathlib import Path

import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
from tiny_state import CONFIG, new_run, save, tiny_state

from medslip_jax.checkpoints import Checkpoints, integrity, manager, write_model
from medslip_jax.checkpoints.failures import error_code
from medslip_jax.checkpoints.reading import steps_in
from medslip_jax.storage.files import replacing_directory
from medslip_jax.weights import saving

pytestmark = pytest.mark.portable
VERSIONS = f"orbax-checkpoint {version('orbax-checkpoint')}, tensorstore {version('tensorstore')}"


def relied_on(file: str, what: str) -> str:
    """The message of an assumption that does not hold."""
    return f"{VERSIONS}: no longer so: {what}; {file} relies on it"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return new_run(tmp_path_factory.mktemp("run"), 3) / "3"


def test_small_items_hold_what_was_saved_and_nothing_else(finished):
    config, loader = (json.loads((finished / item / "metadata").read_text()) for item in ("config", "loader"))
    assert config == json.loads(json.dumps(CONFIG)), relied_on("reading.py", "config/metadata is the bare JSON")
    assert loader == {"batch": 3}, relied_on("manager.py", "an item of JsonSave is the bare JSON")
    metrics = json.loads((finished / "metrics" / "metrics").read_text())
    assert metrics == {"val_auroc": 0.5}, relied_on("resume.py", "metrics are an item of their own")


def test_steps_are_bare_numbers(finished):
    entries = {entry.name for entry in finished.parent.iterdir()}
    assert entries == {"3"}, relied_on("reading.py (steps_in)", "a run's directory holds STEP alone")
    assert steps_in(finished.parent) == ocp.utils.checkpoint_steps(finished.parent)


def test_the_temporary_name_in_the_middle_of_a_save(tmp_path, monkeypatch):
    """And that our callback comes when all items are written, but before the checkpoint gets its name."""
    directory, seen = new_run(tmp_path, 1), {}

    def look(unfinished):
        seen["given"] = unfinished.name
        seen["run"] = {entry.name for entry in directory.iterdir()}
        seen["temporary"] = ocp.utils.is_tmp_checkpoint(directory / "2.orbax-checkpoint-tmp")
        seen["items"] = {entry.name for entry in unfinished.iterdir()}
        integrity.write_digests(unfinished)

    monkeypatch.setattr(manager, "write_digests", look)
    checkpoints = Checkpoints(tmp_path, keep=9, best_metric="val_auroc")
    save(checkpoints, 2, metrics={"val_auroc": 0.5})
    checkpoints.close()
    relying = relied_on("manager.py (_unfinished)", "the callback comes while STEP.orbax-checkpoint-tmp is there")
    assert (seen["given"], seen["run"]) == ("2.orbax-checkpoint-tmp", {"1", "2.orbax-checkpoint-tmp"}), relying
    assert seen["temporary"], relying
    assert {"model", "optimizer", "loader", "config", "metrics"} <= seen["items"], relying
    relying = relied_on("integrity.py (write_digests)", "no item's file is written after the callback")
    assert integrity.damage(directory / "2") is None, relying
    files = {
        file.relative_to(directory / "2").as_posix() for file in (directory / "2").glob("*/**/*") if file.is_file()
    }
    assert files == json.loads((directory / "2" / integrity.DIGESTS).read_text())["files"].keys(), relying


def test_what_a_killed_save_leaves_is_gone_before_the_next_save(tmp_path):
    """Orbax removes it in the background once a run's checkpoints are opened; only a save waits for that."""
    directory = new_run(tmp_path, 1)
    half = directory / "2.orbax-checkpoint-tmp" / "model" / "half"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    checkpoints = Checkpoints(tmp_path, keep=9)
    save(checkpoints, 2)
    checkpoints.close()
    relying = relied_on("manager.py (_unfinished)", "a save waits until STEP.orbax-checkpoint-tmp is removed")
    assert {entry.name for entry in directory.iterdir()} == {"1", "2"}, relying
    assert not (directory / "2" / "model" / "half").exists(), relying


def test_a_single_checkpoint_in_the_middle_of_its_writing(tmp_path, monkeypatch):
    save_items, seen = ocp.CompositeCheckpointHandler.save, []

    def look(self, directory, *args, **kwargs):
        seen.append(Path(directory))
        return save_items(self, directory, *args, **kwargs)

    monkeypatch.setattr(ocp.CompositeCheckpointHandler, "save", look)
    state = tiny_state(0)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    with replacing_directory(tmp_path / "m") as temporary:
        write_model(temporary, variables, config=CONFIG, info={"a": 1})
    [unfinished] = seen
    relying = relied_on("files.py (replacing_directory)", "Orbax writes to NAME.SUFFIX beside NAME")
    assert unfinished.parent == tmp_path and unfinished.name.startswith(f"{temporary.name}."), relying
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"], relying
    entries = {entry.name for entry in (tmp_path / "m").iterdir()}
    assert entries <= set(saving._OURS), relied_on("saving.py (_OURS)", f"these are all entries: {sorted(entries)}")
    info = json.loads((tmp_path / "m" / "info" / "metadata").read_text())
    assert info == {"a": 1}, relied_on("reading.py (read_info)", "info/metadata is the bare JSON")


def test_errors_of_tensorstore_carry_the_systems_number(tmp_path):
    (tmp_path / "file").write_text("no directory")
    store = ts.KvStore.open({"driver": "file", "path": f"{tmp_path / 'file'}/"}).result()
    with pytest.raises(ValueError) as caught:
        store.write("key", b"value").result()
    relying = relied_on("failures.py (error_code)", "its text has os_error_code='NUMBER'")
    assert re.search(r"os_error_code='\d+'", str(caught.value)), f"{relying}: {caught.value}"
    assert error_code(caught.value) == 20, relying  # ENOTDIR
