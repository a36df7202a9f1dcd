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
from tiny_state import CONFIG, array_data, new_run, save, tiny_state

from medslip_jax.checkpoints import choice, integrity, manager
from medslip_jax.checkpoints.failures import error_code
from medslip_jax.checkpoints.manager import Checkpoints, write_model
from medslip_jax.storage.files import replacing_directory
from medslip_jax.weights import saving

pytestmark = pytest.mark.portable
VERSIONS = f"orbax-checkpoint {version('orbax-checkpoint')}, tensorstore {version('tensorstore')}"


def relied_on(file: str, what: str) -> str:
    """The message of an assumption that does not hold."""
    return f"{VERSIONS}: no longer so: {what}; medslip_jax/{file} relies on it"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return new_run(tmp_path_factory.mktemp("run"), 3) / "3"


@pytest.mark.parametrize(
    ("name", "relying"),
    [
        ("model/manifest.ocdbt", "checkpoint_integrity.py (read_through)"),
        ("optimizer/manifest.ocdbt", "checkpoint_integrity.py (read_through)"),
        ("config/metadata", "checkpoint_files.py (read_config)"),
        ("loader/metadata", "checkpoint_integrity.py (_unreadable)"),
        ("metrics/metrics", "checkpoint_integrity.py (_JSON_FILES)"),
        ("_CHECKPOINT_METADATA", "checkpoint_integrity.py (_STAMPED), checkpoint_choice.py (_SMALL)"),
    ],
)
def test_files_of_a_finished_checkpoint(finished, name, relying):
    assert (finished / name).is_file(), relied_on(relying, f"a checkpoint holds {name}")
    if not name.endswith("ocdbt"):
        assert isinstance(json.loads((finished / name).read_text()), dict), relied_on(relying, f"{name} is JSON")


def test_small_items_hold_what_was_saved_and_nothing_else(finished):
    config, loader = (json.loads((finished / item / "metadata").read_text()) for item in ("config", "loader"))
    assert config == json.loads(CONFIG.to_json()), relied_on("checkpoint_files.py (read_config)", "it is the config")
    assert loader == {"batch": 3}, relied_on("checkpoint.py", "an item of JsonSave is the bare JSON")
    metrics = json.loads((finished / "metrics" / "metrics").read_text())
    assert metrics == {"val_auroc": 0.5}, relied_on("checkpoint_choice.py (_SMALL)", "metrics are the bare JSON")


def test_steps_are_bare_numbers(finished):
    entries = {entry.name for entry in finished.parent.iterdir()}
    assert entries == {"3"}, relied_on("checkpoint_choice.py (steps_in)", "a run's directory holds STEP alone")
    assert choice.steps_in(finished.parent) == ocp.utils.checkpoint_steps(finished.parent)


def test_arrays_are_listed_by_tensorstore(finished):
    what = "model/manifest.ocdbt opens with tensorstore's driver ocdbt and lists non-empty values"
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{finished / 'model'}/"}).result()
    keys = [key.decode() for key in store.list().result()]
    relying = relied_on("checkpoint_integrity.py (read_through)", what)
    assert any("params.a.kernel" in key for key in keys), f"{relying}: {keys}"
    assert all(store.read(key).result().value for key in keys), relying
    assert array_data(finished / "model").is_file(), f"{relying}; tests/helpers/tiny_state.py (array_data)"


def test_the_temporary_name_in_the_middle_of_a_save(tmp_path, monkeypatch):
    """And that our callback comes when all is written, but before the checkpoint gets its name and its time."""
    directory, seen = new_run(tmp_path, 1), {}

    def look(unfinished):
        seen["given"] = unfinished.name
        seen["run"] = {entry.name for entry in directory.iterdir()}
        seen["temporary"] = ocp.utils.is_tmp_checkpoint(directory / "2.orbax-checkpoint-tmp")
        seen["items"] = {entry.name for entry in unfinished.iterdir()}
        seen["metadata"] = json.loads((unfinished / "_CHECKPOINT_METADATA").read_text())
        integrity.write_digests(unfinished)

    monkeypatch.setattr(manager, "write_digests", look)
    checkpoints = Checkpoints(tmp_path, keep=9, best_metric="val_auroc")
    save(checkpoints, 2, metrics={"val_auroc": 0.5})
    checkpoints.close()
    relying = relied_on("checkpoint.py (_unfinished)", "the callback comes while STEP.orbax-checkpoint-tmp is there")
    assert (seen["given"], seen["run"]) == ("2.orbax-checkpoint-tmp", {"1", "2.orbax-checkpoint-tmp"}), relying
    assert seen["temporary"], relying
    assert {"model", "optimizer", "loader", "config", "metrics"} <= seen["items"], relying
    stamp = "commit_timestamp_nsecs"
    relying = relied_on("checkpoint_integrity.py (_STAMP)", f"{stamp}, an integer, is written after the callback")
    assert not seen["metadata"].get(stamp), relying
    after = json.loads((directory / "2" / "_CHECKPOINT_METADATA").read_text())
    assert isinstance(after.pop(stamp), int), relying
    assert after == {name: value for name, value in seen["metadata"].items() if name != stamp}, relying
    later = {file.name for file in (directory / "2").iterdir()} - seen["items"] - {integrity.DIGESTS}
    relying = relied_on("checkpoint_integrity.py (_LATER)", "only commit_success.txt may be written after the callback")
    assert later <= {integrity._LATER} == {ocp.path.atomicity_types.COMMIT_SUCCESS_FILE}, relying


def test_what_a_killed_save_leaves_is_gone_before_the_next_save(tmp_path):
    """Orbax removes it in the background once a run's checkpoints are opened; only a save waits for that."""
    directory = new_run(tmp_path, 1)
    half = directory / "2.orbax-checkpoint-tmp" / "model" / "half"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    checkpoints = Checkpoints(tmp_path, keep=9)
    save(checkpoints, 2)
    checkpoints.close()
    relying = relied_on("checkpoint.py (_unfinished)", "a save waits until STEP.orbax-checkpoint-tmp is removed")
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
    assert entries <= set(saving._OURS), relied_on("publish.py (_OURS)", f"these are all entries: {sorted(entries)}")
    info = json.loads((tmp_path / "m" / "info" / "metadata").read_text())
    assert info == {"a": 1}, relied_on("checkpoint_files.py (read_info)", "info/metadata is the bare JSON")


def test_errors_of_tensorstore_carry_the_systems_number(tmp_path):
    (tmp_path / "file").write_text("no directory")
    store = ts.KvStore.open({"driver": "file", "path": f"{tmp_path / 'file'}/"}).result()
    with pytest.raises(ValueError) as caught:
        store.write("key", b"value").result()
    relying = relied_on("checkpoint_failures.py (error_code)", "its text has os_error_code='NUMBER'")
    assert re.search(r"os_error_code='\d+'", str(caught.value)), f"{relying}: {caught.value}"
    assert error_code(caught.value) == 20, relying  # ENOTDIR
