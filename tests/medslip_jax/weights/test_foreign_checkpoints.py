"""Checkpoints as people have them: other names, prefixes, suffixes, several files; and those that are refused.

Each is read by `medslip convert` and gives the tensors of the plain file, bit by bit.
"""

import functools
import json
import tarfile

import numpy as np
import pytest
from tiny_weights import CONFIGS, assert_same, converted, refused, run_convert, state_of

from medslip_jax.storage.tensor_files import write_state
from medslip_jax.storage.tensor_reading import read_state
from medslip_jax.weights.loading import load

STATE = state_of(CONFIGS["medslip"])


@pytest.fixture
def convert(capsys):
    return functools.partial(run_convert, capsys)


def read_back(convert, source, tmp_path) -> dict[str, np.ndarray]:
    """The tensors after a conversion to .safetensors."""
    converted(convert, source, tmp_path / "back.safetensors")
    return read_state(tmp_path / "back.safetensors")["state"]


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "module.model.", "model._orig_mod.module."])
def test_prefixes(convert, tmp_path, prefix):
    write_state(tmp_path / "a.safetensors", {f"{prefix}{name}": array for name, array in STATE.items()})
    assert_same(read_back(convert, tmp_path / "a.safetensors", tmp_path), STATE)


@pytest.mark.parametrize("name", ["a.SAFETENSORS", "a.ckpt", "a.pth", "a.weights", "checkpoint"])
def test_safetensors_under_any_name(convert, tmp_path, name):
    write_state(tmp_path / "x.safetensors", STATE)
    (tmp_path / "x.safetensors").rename(tmp_path / name)
    assert_same(read_back(convert, tmp_path / name, tmp_path), STATE)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["a.PTH", "a.ckpt", "a.pth.tar", "a.safetensors", "checkpoint"])
@pytest.mark.parametrize("archive", [True, False])
def test_torch_under_any_name(torch, convert, tmp_path, name, archive):
    state = {f"model.{key}": torch.from_numpy(array) for key, array in STATE.items()}
    content = {"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.5.0", "optimizer_states": []}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=archive)
    assert_same(read_back(convert, tmp_path / name, tmp_path), STATE)


def test_counters_are_optional(convert, tmp_path):
    bare = {name: array for name, array in STATE.items() if not name.endswith("num_batches_tracked")}
    assert len(bare) < len(STATE)
    write_state(tmp_path / "a.safetensors", bare)
    assert_same(read_back(convert, tmp_path / "a.safetensors", tmp_path), STATE)


def test_other_tensors_are_not_optional(convert, tmp_path):
    write_state(tmp_path / "a.safetensors", {n: a for n, a in STATE.items() if not n.endswith("running_mean")})
    assert "missing (res_features.1.running_mean" in refused(convert, tmp_path / "a.safetensors", tmp_path / "b")


def index_of(directory, names=("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
    """Writes STATE as two files and their index; returns the index."""
    keys = list(STATE)
    halves = dict(zip(names, (keys[::2], keys[1::2]), strict=True))
    for name, half in halves.items():
        write_state(directory / name, {key: STATE[key] for key in half})
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {k: n for n, half in halves.items() for k in half}}))
    return index


def test_sharded_safetensors(convert, tmp_path):
    (tmp_path / "many").mkdir()
    index = index_of(tmp_path / "many")
    assert_same(read_back(convert, index, tmp_path), STATE)
    (tmp_path / "again").mkdir()
    assert_same(read_back(convert, index.parent, tmp_path / "again"), STATE)


def test_the_hash_of_an_index_is_of_its_files_too(tmp_path):
    index = index_of(tmp_path)
    before = load(index)["pretrained"].info["source"]["sha256"]
    shard = tmp_path / "model-00001-of-00002.safetensors"
    write_state(shard, {name: array * 0 for name, array in read_state(shard)["state"].items()})
    assert load(index)["pretrained"].info["source"]["sha256"] != before


def test_a_shard_that_is_not_there(convert, tmp_path):
    index = index_of(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    said = refused(convert, index, tmp_path / "b")
    assert said == f"{index}: names model-00002-of-00002.safetensors, which is not beside it; copy all files"


@pytest.mark.parametrize(
    "text",
    [
        '{"weight_map": {"a": "x.index.json"}}',
        "{",
        "[]",
        "{}",
        '{"weight_map": 3}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": "../../etc/passwd"}}',
    ],
)
def test_an_index_that_is_none_or_leads_elsewhere(convert, tmp_path, text):
    (tmp_path / "x.index.json").write_text(text)
    assert refused(convert, tmp_path / "x.index.json", tmp_path / "b").startswith(f"{tmp_path / 'x.index.json'}: n")


def test_a_run_with_weights_beside_its_checkpoints_is_the_run(convert, tmp_path):
    """A model that was exported into the directory of its run does not take the place of later checkpoints."""
    write_state(tmp_path / "a.safetensors", STATE)
    converted(convert, tmp_path / "a.safetensors", tmp_path / "run")
    write_state(tmp_path / "run" / "early.safetensors", {name: array * 0 for name, array in STATE.items()})
    assert_same(read_back(convert, tmp_path / "run", tmp_path), STATE)


def test_a_directory_with_one_file_of_weights_is_that_file(convert, tmp_path):
    (tmp_path / "a").mkdir()
    write_state(tmp_path / "a" / "weights.safetensors", STATE)
    (tmp_path / "a" / "._weights.safetensors").write_bytes(b"Mac OS X")
    assert_same(read_back(convert, tmp_path / "a", tmp_path), STATE)
    (tmp_path / "a" / "older.pth").write_bytes(b"")
    said = refused(convert, tmp_path / "a", tmp_path / "b")
    assert said == f"{tmp_path / 'a'}: holds older.pth, weights.safetensors; name one of them"


@pytest.mark.torch
def test_a_folder_of_torch_distributed_checkpoint_and_the_advice(torch, convert, tmp_path, monkeypatch):
    from torch.distributed.checkpoint import format_utils

    torch.save({"model": {key: torch.from_numpy(array) for key, array in STATE.items()}}, tmp_path / "a.pth")
    format_utils.torch_save_to_dcp(tmp_path / "a.pth", tmp_path / "dcp")
    said = refused(convert, tmp_path / "dcp", tmp_path / "b")
    command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {tmp_path / 'dcp'} FILE.pth"
    assert said == f"{tmp_path / 'dcp'}: of torch.distributed.checkpoint; make one file, {command}"
    # What that command does.
    format_utils.dcp_to_torch_save(tmp_path / "dcp", tmp_path / "FILE.pth")
    assert_same(read_back(convert, tmp_path / "FILE.pth", tmp_path), STATE)


@pytest.mark.torch
def test_a_torchscript_archive_and_the_advice(torch, convert, tmp_path, monkeypatch):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    said = refused(convert, tmp_path / "a.pt", tmp_path / "b")
    code = "torch.save(torch.jit.load('a.pt').state_dict(), 'weights.pth')"
    assert said == f"{tmp_path / 'a.pt'}: a TorchScript archive, a program; save its tensors in PyTorch: {code}"
    monkeypatch.chdir(tmp_path)
    exec(code, {"torch": torch})
    assert read_state("weights.pth")["state"].keys() == {"weight", "bias"}


def test_archives_are_named(convert, tmp_path):
    write_state(tmp_path / "w.safetensors", STATE)
    with tarfile.open(tmp_path / "a.pth.tar", "w") as archive:
        archive.add(tmp_path / "w.safetensors", "w.safetensors")
    said = refused(convert, tmp_path / "a.pth.tar", tmp_path / "b")
    assert said == f"{tmp_path / 'a.pth.tar'}: a tar archive; unpack it and give the file inside"
    (tmp_path / "a.pth.gz").write_bytes(b"\x1f\x8b" + bytes(20))
    said = refused(convert, tmp_path / "a.pth.gz", tmp_path / "b")
    assert said == f"{tmp_path / 'a.pth.gz'}: packed by gzip; unpack it, gunzip a.pth.gz"
