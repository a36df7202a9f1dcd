"""`medslip convert` that fails: one line, code 2, and every target as it was."""

import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from tiny_weights import CONFIGS, books_file, converted, files_below, foreign, refused, run_convert, state_of

from medslip_jax.checkpoints import writing
from medslip_jax.cli import main
from medslip_jax.storage.tensor_files import write_state
from medslip_jax.testing import tiny_config
from medslip_jax.weights import saving
from medslip_jax.weights.loading import load


@pytest.fixture
def convert(capsys):
    """(A, B, flags) -> {"code", "out", "err"} of the verb."""
    return functools.partial(run_convert, capsys)


def _nan(path: Path, names: tuple[str, ...] = ("cl_fc_pathology.bias",)) -> Path:
    state = state_of(tiny_config())
    bad = {n: np.full_like(x, np.nan) for n, x in state.items() if x.dtype.kind == "f" and (n in names or not names)}
    write_state(path, state | bad)
    return path


def _int8(path: Path) -> Path:
    state = state_of(CONFIGS["classifier"])
    write_state(path, {name: array.astype(np.int8) if array.ndim > 1 else array for name, array in state.items()})
    return path


def _cut(path: Path) -> Path:
    path.write_bytes(foreign(path).read_bytes()[:5000])
    return path


def _text(path: Path) -> Path:
    path.write_text("no checkpoint")
    return path


def _resnet34(path: Path) -> Path:
    extra = {f"res_features.{stage}.2.conv1.weight": np.ones((1, 1, 1, 1), np.float32) for stage in (4, 5, 6)}
    return foreign(path, **extra)


def _bert(path: Path) -> Path:
    write_state(path, {"encoder.layer.0.attention.self.query.weight": np.ones((4, 4), np.float32)})
    return path


SOURCES = {
    "truncated": (_cut, "not a readable checkpoint, truncated"),
    "text": (_text, "not a readable checkpoint, truncated"),
    "another network": (_bert, "no MeDSLIP model, classifier or U-Net"),
    "another backbone": (_resnet34, "the backbone has 3-3-3 basic blocks; known are resnet50 3-4-6; resnet18 2-2-2"),
    "one NaN": (_nan, "1 tensors hold NaN or infinity (params/projection_pathology/bias)"),
    "all NaN": (lambda path: _nan(path, ()), "tensors hold NaN or infinity"),
    "integers": (_int8, "tensors are not floats, as quantised ones are"),
    "missing": (lambda path: path, "a.safetensors: no such file or directory"),
    "no weights": (lambda path: _text(path.with_suffix(".onnx")), "a.onnx: not a readable checkpoint"),
    "no checkpoint in it": (lambda path: path.parent, "holds no checkpoint"),
}


@pytest.mark.parametrize("to", ["b.safetensors", "b"])
@pytest.mark.parametrize("case", SOURCES)
def test_source_that_cannot_be_used(convert, tmp_path, case, to):
    """One line, code 2; a target that is not there stays away, one that is there stays as it is."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    make, message = SOURCES[case]
    source = make(tmp_path / "in" / "a.safetensors")
    target = tmp_path / "out" / to
    assert message in refused(convert, source, target)
    if target.suffix:
        target.write_bytes(b"old")
    else:
        (target / "model").mkdir(parents=True)
        (target / "model" / "x").write_bytes(b"old")
    assert message in refused(convert, source, target, "--overwrite")
    assert len(files_below(tmp_path / "out")) == 1


@pytest.fixture(scope="module")
def orbax(tmp_path_factory) -> Path:
    """A converted checkpoint; copy it before you damage it."""
    folder = tmp_path_factory.mktemp("orbax")
    assert main.main(["convert", f"--from={foreign(folder / 'a.safetensors')}", f"--to={folder / 'b'}"]) == 0
    return folder / "b"


def _largest(directory: Path) -> Path:
    return max((directory / "model" / "ocdbt.process_0" / "d").iterdir(), key=lambda path: path.stat().st_size)


def _removed(path: Path) -> None:
    path.unlink()


def _halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (_halved, lambda d: d / "config" / "metadata", "cannot read the checkpoint's config"),
        (_removed, lambda d: d / "config" / "metadata", "cannot read the checkpoint's config"),
        (_halved, lambda d: d / "info" / "metadata", "cannot read the checkpoint's description"),
        (_halved, lambda d: d / "model" / "_METADATA", "cannot be read"),
        (_removed, lambda d: d / "model" / "_METADATA", "cannot be read"),
        (_halved, lambda d: d / "model" / "manifest.ocdbt", "cannot be read"),
        (_removed, lambda d: d / "model" / "manifest.ocdbt", "cannot be read"),
        (_halved, _largest, "cannot be read"),
        (_removed, _largest, "cannot be read"),
        (shutil.rmtree, lambda d: d / "model", "holds no checkpoint"),
    ],
)
def test_half_written_directory(convert, tmp_path, orbax, damage, file, message):
    (tmp_path / "out").mkdir()
    shutil.copytree(orbax, tmp_path / "half")
    damage(file(tmp_path / "half"))
    assert message in refused(convert, tmp_path / "half", tmp_path / "out" / "c.safetensors")


@pytest.mark.parametrize(
    ("to", "flags", "message"),
    [
        ("b.safetensors", [], "b.safetensors is there already; give another name or --overwrite"),
        ("d", [], "d is there already; give another name or --overwrite"),
        ("e.safetensors", [], "e.safetensors.json is there already"),
        ("c.onnx", [], "unknown suffix .onnx; write .pth, .pt, .bin, .safetensors or a directory"),
        ("no/c.safetensors", [], "no directory"),
        ("no/c", [], "no directory"),
        ("plain", ["--overwrite"], "is a file, and a directory would take its place"),
        ("photos", ["--overwrite"], "holds other things than a converted model (holiday.jpg)"),
        ("run", ["--overwrite"], "holds other things than a converted model (checkpoints)"),
        ("c.safetensors", ["--license=mit"], "belong to --format pretrained"),
        ("c", ["--format=pretrained"], "--license is missing"),
        ("c", ["--books=nowhere.npz"], "nowhere.npz: cannot be read"),
        ("c", ["--config=nowhere.py"], "nowhere.py"),
    ],
)
def test_target_or_flags_that_cannot_be_used(convert, tmp_path, to, flags, message):
    """--overwrite never deletes what is not a converted model."""
    for name in ("b.safetensors", "e.safetensors.json", "plain", "photos/holiday.jpg", "run/checkpoints/1/x", "d/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = foreign(tmp_path / "a.safetensors")
    before = files_below(tmp_path)
    result = convert(source, tmp_path / to, *flags)
    assert (result["code"], result["err"].count("\n")) == (2, 1)
    assert message in result["err"]
    assert files_below(tmp_path) == before


def test_overwrite(convert, tmp_path):
    for kind in ("classifier", "segmenter"):
        source = foreign(tmp_path / "a.safetensors", kind)
        for to in ("b", "b.safetensors"):
            converted(convert, source, tmp_path / to, *(["--overwrite"] if kind == "segmenter" else []))
    assert load(tmp_path / "b", kind="segmenter") and load(tmp_path / "b.safetensors", kind="segmenter")
    assert {p.name for p in tmp_path.iterdir()} == {"a.safetensors", "b", "b.safetensors", "b.safetensors.json"}


def _no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _orbax_stops(self, directory, *args, **kwargs):
    """What tensorstore's failure leaves: a directory of Orbax's own beside the one that it was given."""
    left = Path(f"{directory}.orbax-checkpoint-tmp") / "model"
    left.mkdir(parents=True)
    raise ValueError("OUT_OF_RANGE: Failed to write 9 bytes: No space left on device [os_error_code='28']\nsource ...")


@pytest.mark.parametrize(
    ("to", "where", "fake"),
    [
        ("b.safetensors", (saving, "info_bytes"), _no_space),
        ("b.safetensors", (saving, "save_books"), _no_space),
        ("b.safetensors", (saving, "file_hash"), _no_space),
        ("b", (saving, "write_model"), _no_space),
        ("b", (saving, "save_books"), _no_space),
        ("b", (writing.ocp.Checkpointer, "save"), _orbax_stops),
        ("b", (writing.shutil, "disk_usage"), lambda path: shutil._ntuple_diskusage(1000, 999, 1)),
    ],
    ids=["description", "books", "hash", "orbax", "orbax books", "tensorstore", "free space"],
)
@pytest.mark.parametrize("old", ["absent", "present"])
def test_disk_full_at_any_file(convert, tmp_path, monkeypatch, to, where, fake, old):
    """All or nothing: weights, description and text tables are one target."""
    out = tmp_path / "out"
    out.mkdir()
    books = f"--books={books_file(tmp_path / 'books.npz')}"
    if old == "present":
        converted(
            convert,
            foreign(tmp_path / "old.safetensors", cl_fc_anatomy__bias=np.full(12, 5, np.float32)),
            out / to,
            books,
        )
    monkeypatch.setattr(*where, fake)
    message = refused(convert, foreign(tmp_path / "a.safetensors"), out / to, books, "--overwrite")
    assert "cannot be written (No space left on device); check the folder and the space left" in message
    monkeypatch.undo()
    if old == "present":
        assert load(out / to)["pretrained"].variables["params"]["projection_anatomy"]["bias"][0] == 5


def _process(*argv) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "medslip_jax.cli.main", "convert", *map(str, argv)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.torch
@pytest.mark.parametrize("case", ["truncated", "jpeg", "code"])
def test_real_process_refuses_a_pth(torch, tmp_path, case):
    source, target = tmp_path / "a.pth", tmp_path / "b.pth"
    target.write_bytes(b"old")
    if case == "code":
        torch.save({"model": {"w": torch.ones(1)}, "args": Bomb(tmp_path / "ran")}, source)
    else:
        write_state(source, state_of(CONFIGS["classifier"]))
        data = source.read_bytes()
        source.write_bytes(data[: len(data) // 2] if case == "truncated" else b"\xff\xd8\xff\xe0" + bytes(99))
    before = files_below(tmp_path)
    run = _process("--from", source, "--to", target, "--overwrite")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith(f"medslip: {source}: {'holds Python objects' if case == 'code' else 'not a readable'}")
    assert files_below(tmp_path) == before and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["no data", "cut data", "one file lost"])
def test_real_process_refuses_a_half_written_directory(tmp_path, orbax, damage):
    """Orbax's threads would print pages."""
    shutil.copytree(orbax, tmp_path / "half")
    if damage == "no data":
        shutil.rmtree(tmp_path / "half" / "model")
    elif damage == "cut data":
        os.truncate(_largest(tmp_path / "half"), 100)
    else:
        _largest(tmp_path / "half").unlink()
    before = files_below(tmp_path)
    run = _process("--from", tmp_path / "half", "--to", tmp_path / "b")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith(f"medslip: {tmp_path / 'half'}: ")
    assert files_below(tmp_path) == before


_KILLED = """
import os, signal, sys
from medslip_jax.cli import main as cli; from medslip_jax.weights import saving as publish
publish.info_bytes = lambda info: os.kill(os.getpid(), signal.SIGKILL)
publish.write_model = lambda directory, *args, **kwargs: (directory / "half").touch() or publish.info_bytes(0)
cli.main(["convert", "--from", sys.argv[1], "--to", sys.argv[2], "--overwrite"])
"""


@pytest.mark.parametrize("to", ["b.safetensors", "b"])
def test_kill_in_the_middle_leaves_the_old_target(convert, tmp_path, to):
    converted(convert, foreign(tmp_path / "old.safetensors", "segmenter"), tmp_path / to)
    source, before = foreign(tmp_path / "a.safetensors"), files_below(tmp_path)
    argv = [sys.executable, "-c", _KILLED, str(source), str(tmp_path / to)]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert run.returncode == -signal.SIGKILL
    after = files_below(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(after) != set(before) and all(name.startswith(".") for name in set(after) - set(before))
    assert load(tmp_path / to, kind="segmenter")
