"""What a test of processes sees of them from outside: who of a family lives, and what they left in /dev/shm."""

import ctypes
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from places import ROOT

_MARK = "MEDSLIP_TEST_FAMILY"
# The requirement itself: nothing is left after so many seconds.
SECONDS = 5.0
_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS


class Family:
    """A Python script with all that descends from it, leader of a process group. A context manager: none outlives it.

    Args:
      script: its text.
      args: of the script.
      directory: for the script and its output.
    """

    def __init__(self, script: str, *args: object, directory: Path):
        path = directory / "family.py"
        path.write_text(script)
        self._log, self._name = directory / "family.log", f"{os.getpid()}-{directory}"
        environment = os.environ | {
            _MARK: self._name,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'helpers'}",
            "JAX_PLATFORMS": "cpu",
        }
        with self._log.open("wb") as log:
            command = [sys.executable, path, *map(str, args)]
            self.parent = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def __enter__(self) -> "Family":
        return self

    def __exit__(self, *_) -> None:
        for process in self.alive():
            os.kill(process, signal.SIGKILL)
        self.parent.kill()
        self.parent.wait()

    def alive(self, *, command: str = "") -> list[int]:
        """The living, the parent too; with `command`, those whose command line has it."""
        return [
            int(process.name)
            for process in Path("/proc").iterdir()
            if process.name.isdigit()
            and f"{_MARK}={self._name}".encode() in _read(process / "environ").split(b"\0")
            and command.encode() in _read(process / "cmdline")
        ]

    def workers(self) -> list[int]:
        return self.alive(command="spawn_main")

    def shared_memory(self) -> Callable[[], list[str]]:
        """Names in the parent's /dev/shm, now and after the parent has ended."""
        # An open directory keeps a mount that is its own.
        directory = os.open(f"/proc/{self.parent.pid}/root/dev/shm", os.O_RDONLY)
        weakref.finalize(self, os.close, directory)
        return lambda: os.listdir(directory)  # noqa: PTH208 (a descriptor, not a path)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, reached: Callable[[], object], *, seconds: float = 120) -> None:
        """Waits while the parent lives."""
        end = time.monotonic() + seconds
        while not reached():
            assert self.parent.poll() is None and time.monotonic() < end, self.output()[-3000:]
            time.sleep(0.01)

    def ends(self, *, seconds: float = SECONDS) -> bool:
        """Whether all end in this time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.parent.poll()
            if not self.alive():
                return True
            time.sleep(0.02)
        return False


def own_shared_memory(options: str) -> bool:
    """Gives this process, which must be single-threaded, and its children a /dev/shm of its own; False if not allowed.

    Args:
      options: of mount for a tmpfs, such as "size=64k" or "ro"; "missing" for a /dev without shm.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
        return False
    private = _mount("--make-rprivate", "/")
    if options != "missing":
        return private and _mount("-t", "tmpfs", "-o", options, "tmpfs", "/dev/shm")
    devices = ("null", "zero", "full", "random", "urandom")
    new = Path("/mnt")
    if not (private and _mount("-t", "tmpfs", "tmpfs", new)):
        return False
    for device in devices:
        (new / device).touch()
        _mount("--bind", f"/dev/{device}", new / device)
    return _mount("--rbind", new, "/dev")


def require_own_shared_memory() -> None:
    """Skips a test where `own_shared_memory` is not allowed."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import process_traces as p; "
    code += "sys.exit(not p.own_shared_memory('size=1m'))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    import pytest  # not in the scripts, which import this module too

    if done.returncode:
        pytest.skip("needs a mount namespace of its own, which is allowed to root alone and not in every container")


def _mount(*args: object) -> bool:
    return subprocess.run(["mount", *map(str, args)], check=False, stderr=subprocess.DEVNULL).returncode == 0


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has ended
        return b""
