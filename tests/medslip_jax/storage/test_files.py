"""Write under a temporary name, then rename."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT
from tiny_weights import files_below

from medslip_jax.errors import InputError
from medslip_jax.storage import files
from medslip_jax.storage.files import (
    file_hash,
    made_directory,
    replacing_directory,
    replacing_file,
    tree_hash,
    write_bytes,
)


def test_file_appears_whole(tmp_path):
    target = tmp_path / "a.npz"
    with replacing_file(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".npz"
        temporary.write_text("new")
        assert not target.exists()
    assert files_below(tmp_path) == {"a.npz": b"new"}


@pytest.mark.parametrize("old", [{}, {"a": b"old"}], ids=["absent", "present"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, KeyError, OSError(28, "No space left on device")])
def test_file_stays_when_the_block_raises(tmp_path, old, error):
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)
    kind = InputError if isinstance(error, OSError) else error
    with pytest.raises(kind), replacing_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise error
    assert files_below(tmp_path) == old


def test_full_disk_is_one_line(tmp_path):
    with pytest.raises(InputError) as caught, replacing_file(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert str(caught.value) == (
        f"{tmp_path / 'a'}: cannot be written (No space left on device); check the folder and the space left"
    )


@pytest.mark.parametrize("write", [write_bytes, lambda path, _: replacing_directory(path).__enter__()])
def test_no_folder(tmp_path, write):
    with pytest.raises(InputError, match=r"missing/a: cannot be written \(No such file or directory\)"):
        write(tmp_path / "missing" / "a", b"")


@pytest.mark.parametrize("replacing", [replacing_file, replacing_directory])
def test_a_source_that_cannot_be_read_is_named_as_such(tmp_path, replacing):
    gone = tmp_path / "gone"
    with pytest.raises(InputError) as error, replacing(tmp_path / "a"):
        gone.read_bytes()
    assert str(error.value) == f"{gone}: No such file or directory, while {tmp_path / 'a'} was written"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named_with_its_flag(tmp_path):
    assert made_directory(tmp_path / "a" / "b", flag="--out") == tmp_path / "a" / "b"
    assert made_directory(str(tmp_path / "a" / "b"), flag="--out").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        made_directory(tmp_path / "file" / "c", flag="--out")
    assert str(caught.value) == (
        f"--out {tmp_path / 'file' / 'c'}: cannot be written (Not a directory); name another folder"
    )


def test_a_file_cannot_take_a_directorys_place(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_bytes(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def _directory(path: Path, **contents: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in contents.items():
        (path / name).write_text(text)
    return path


def test_directory_is_replaced_whole(tmp_path):
    _directory(tmp_path / "d", one="1", two="2")
    with replacing_directory(tmp_path / "d") as temporary:
        _directory(temporary, three="3")
        assert files_below(tmp_path / "d") == {"one": b"1", "two": b"2"}
    assert files_below(tmp_path) == {"d/three": b"3"}
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_directory_stays_when_the_block_raises(tmp_path):
    """Orbax's own temporary directory, beside ours, goes as well; a neighbour of nearly the same name does not."""
    _directory(tmp_path / "d", one="1")
    with pytest.raises(InputError, match="cannot be written"), replacing_directory(tmp_path / "d") as temporary:
        _directory(temporary, two="2")
        _directory(temporary.with_name(f"{temporary.name}.orbax-checkpoint-tmp"), three="3")
        _directory(temporary.with_name(f"{temporary.name}2"), mine="4")
        raise OSError("no")
    assert sorted(files_below(tmp_path).values()) == [b"1", b"4"]


def test_directory_comes_back_when_the_rename_fails(tmp_path, monkeypatch):
    _directory(tmp_path / "d", one="1")
    replace = Path.replace

    def fail(self, target):
        if ".tmp" in self.name:
            raise OSError("no")
        return replace(self, target)

    monkeypatch.setattr(files.Path, "replace", fail)
    with pytest.raises(InputError), replacing_directory(tmp_path / "d") as temporary:
        _directory(temporary, two="2")
    assert files_below(tmp_path) == {"d/one": b"1"}


def test_relative_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing_directory("d") as temporary:
        _directory(temporary, one="1")
    assert files_below(tmp_path) == {"d/one": b"1"}


_KILLED = """
import os, signal, sys
from medslip_jax.storage.files import replacing_directory, replacing_file
with replacing_file(sys.argv[1]) as file, replacing_directory(sys.argv[2]) as directory:
    file.write_text("half")
    (directory / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_leaves_the_old_ones(tmp_path):
    (tmp_path / "a").write_text("old")
    _directory(tmp_path / "d", one="1")
    argv = [sys.executable, "-c", _KILLED, str(tmp_path / "a"), str(tmp_path / "d")]
    run = subprocess.run(argv, cwd=ROOT, timeout=120, check=False)
    assert run.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"
    assert files_below(tmp_path / "d") == {"one": b"1"}
    left = {path.name for path in tmp_path.iterdir()} - {"a", "d"}
    assert len(left) == 2 and all(name.startswith(".") and ".tmp" in name for name in left)


def test_hashes(tmp_path):
    """sha256 of "abc" is in FIPS 180-2; a tree's hash sees names and bytes and no order of creation."""
    write_bytes(tmp_path / "f", b"abc")
    assert file_hash(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    one = tree_hash(_directory(tmp_path / "1", a="x", b="y"))
    assert one == tree_hash(_directory(tmp_path / "2", b="y", a="x"))
    assert one != tree_hash(_directory(tmp_path / "3", a="x", c="y"))
    assert one != tree_hash(_directory(tmp_path / "4", a="x", b="z"))
