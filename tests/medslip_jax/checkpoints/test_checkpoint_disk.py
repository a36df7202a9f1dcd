"""A full disk: a small file system of its own, and the last good checkpoint on it stays."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from places import HELPERS
from tiny_state import new_run, restored, save

from medslip_jax.checkpoints import Checkpoints, find_latest, manager
from medslip_jax.errors import InputError

# Of the kernels; about 1.2 MB a checkpoint, so that one fits into the small disk and two do not.
WIDTH = 3000


@pytest.fixture
def disk(tmp_path):
    """A file system of 2 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system needs the right to mount one ({error})")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.fixture
def hidden(monkeypatch):
    """The space seems to be there when the save begins, as when others fill the disk meanwhile."""
    plenty = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1 << 40))
    monkeypatch.setattr(manager, "shutil", plenty)


FULL = (
    r"^no space left for checkpoint 2 in \S+/checkpoints \({how}\); the last good one is 1; make room and run the same"
)


def only_the_first_is_left(run: Path) -> None:
    assert [d.name for d in (run / "checkpoints").iterdir()] == ["1"] and find_latest(run).name == "1"
    again = Checkpoints(run, keep=1)
    assert restored(again, width=WIDTH) == 1
    again.close()


def test_no_space_to_begin_with(disk):
    checkpoints = Checkpoints(disk / "run", keep=1)
    save(checkpoints, 1, width=WIDTH)
    with pytest.raises(InputError, match=FULL.format(how=r"\d MiB needed, \d MiB free")):
        save(checkpoints, 2, width=WIDTH)
    checkpoints.close()
    only_the_first_is_left(disk / "run")


def test_full_while_writing(disk, hidden, capfd):
    """keep=1 must not have deleted the old one before; it is told once; the threads print nothing."""
    checkpoints = Checkpoints(disk / "run", keep=1)
    save(checkpoints, 1, width=WIDTH)
    with pytest.raises(InputError, match=FULL.format(how="No space left on device")):
        save(checkpoints, 2, width=WIDTH)
    assert checkpoints.latest() == 1 and restored(checkpoints, width=WIDTH) == 1
    checkpoints.close()
    assert capfd.readouterr().err == ""
    only_the_first_is_left(disk / "run")


def test_told_by_the_next_save(disk, hidden):
    checkpoints = Checkpoints(disk / "run", keep=1)
    save(checkpoints, 1, width=WIDTH)
    wait, checkpoints.wait = checkpoints.wait, lambda: None
    save(checkpoints, 2, width=WIDTH)
    checkpoints.wait = wait
    with pytest.raises(InputError, match=FULL.format(how="No space left on device")):
        save(checkpoints, 3, width=WIDTH)
    checkpoints.close()
    only_the_first_is_left(disk / "run")


def test_told_at_the_end(disk, hidden):
    checkpoints = Checkpoints(disk / "run", keep=1)
    save(checkpoints, 1, width=WIDTH)
    wait, checkpoints.wait = checkpoints.wait, lambda: None
    save(checkpoints, 2, width=WIDTH)
    checkpoints.wait = wait
    with pytest.raises(InputError, match=FULL.format(how="No space left on device")):
        checkpoints.close()
    only_the_first_is_left(disk / "run")


def test_the_first_checkpoint_does_not_fit(disk, hidden):
    checkpoints = Checkpoints(disk / "run")
    with pytest.raises(InputError, match=r"no space left for checkpoint 1 .*; there is no earlier one; make room"):
        save(checkpoints, 1, width=3 * WIDTH)
    checkpoints.close()
    assert not any((disk / "run" / "checkpoints").iterdir())


def test_with_room_again_the_run_goes_on(disk):
    filler = disk / "filler"
    filler.write_bytes(bytes(600_000))
    checkpoints = Checkpoints(disk / "run", keep=1)
    with pytest.raises(InputError, match="no space left for checkpoint 1"):
        save(checkpoints, 1, width=2 * WIDTH)
    filler.unlink()
    save(checkpoints, 1, width=WIDTH)
    assert restored(checkpoints, width=WIDTH) == 1
    checkpoints.close()


def test_other_failures_are_one_line_too(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    shutil.move(checkpoints.directory, tmp_path / "elsewhere")
    checkpoints.directory.write_text("a file where the directory was")
    with pytest.raises(
        InputError, match=r"^(checkpoint 2 in|--workdir)[^\n]* could not be written \([^\n]*\); there is no"
    ):
        save(checkpoints, 2)
    checkpoints.close()


VERB = """
import sys
from tiny_state import save
from medslip_jax.checkpoints import manager as checkpoint
def main(argv):
    checkpoints = checkpoint.Checkpoints(argv[0], keep=1)
    try:
        save(checkpoints, 2, width=int(argv[1]))
    finally:
        checkpoints.close()
"""


@pytest.mark.parametrize("seen", ["before", "while writing"])
def test_on_the_command_line(disk, tmp_path, seen):
    """Exit code 2 and one line on stderr."""
    checkpoints = Checkpoints(disk / "run")
    save(checkpoints, 1, width=WIDTH)
    checkpoints.close()
    hide = "import shutil, types\nshutil.disk_usage = lambda path: types.SimpleNamespace(free=1 << 40)\n"
    (tmp_path / "verb.py").write_text((hide if seen == "while writing" else "") + VERB)
    code = (
        "import sys; from medslip_jax.cli import main as m; m.VERBS['v'] = ('verb', ''); sys.exit(m.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "v", disk / "run", str(WIDTH)]
    path = os.pathsep.join([str(HELPERS), str(tmp_path)])
    run = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stderr.startswith("medslip: no space left for checkpoint 2 in ")
    assert run.stderr.count("\n") == 1 and "the last good one is 1" in run.stderr
    only_the_first_is_left(disk / "run")


def test_what_was_kept_before_stays_when_a_run_is_full(disk):
    directory = new_run(disk / "run", 1, 2, 3)
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - 20_000))
    checkpoints = Checkpoints(disk / "run", keep=1)
    with pytest.raises(InputError, match=r"no space left for checkpoint 4 in .*the last good one is 3"):
        save(checkpoints, 4)
    checkpoints.close()
    assert {d.name for d in directory.iterdir()} == {"1", "2", "3"}
