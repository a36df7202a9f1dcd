"""What the tests of resuming share: builds in processes of their own, and SIGKILL from outside and from within.

python killed_builds.py DIRECTORY    kills a build of phantoms at every change of the file system, one after the other
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PART_JOBS = 4
# The command line with small parts, so that a small build has several.
_CLI = (
    "import sys; from data_pipelines.datasets.building import parts; from medslip_jax.cli import main as cli; "
    f"parts.PART_JOBS = {PART_JOBS}; sys.exit(cli.main(sys.argv[1:]))"
)
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


def start(flags: Sequence[str]) -> subprocess.Popen:
    """`medslip data build` as the leader of a process group."""
    command = [sys.executable, "-c", _CLI, "data", "build", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def kill(process: subprocess.Popen, *, when: Callable[[], bool], delay: float) -> bool:
    """SIGKILL to the whole group, `delay` seconds after `when` first holds; False if it had ended before."""
    while process.poll() is None and not when():
        time.sleep(0.0005)
    time.sleep(delay)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its relative path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def forked(function: Callable[[], object], *, die_at: int = 0) -> int:
    """Runs a function in a child that kills itself before its `die_at`-th change of the file system; its exit code."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _CHANGES or writes:
                seen += 1
                if seen == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        function()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_everywhere(directory: Path) -> int:
    """The number of moments; each killed build must leave the old data or the new, and be finished by the next."""
    from data_pipelines.datasets.building import parts
    from data_pipelines.datasets.building.build import build
    from data_pipelines.datasets.phantom import PhantomOptions

    parts.PART_JOBS = PART_JOBS
    out, kept = directory / "out", directory / "kept"
    final, aside = out / "phantom", out / ".phantom-replaced"

    def run(train: int) -> Callable[[], object]:
        options = PhantomOptions(train=train, validation=1, test=1, size=64)
        return lambda: build("phantom", out=out, options=options, workers=1, existing="overwrite")

    assert forked(run(5)) == 0
    new = contents(out)
    shutil.rmtree(out)
    assert forked(run(2)) == 0
    old = contents(out)
    out.rename(kept)
    for moment in range(1, 1000):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(kept, out)
        code = forked(run(5), die_at=moment)
        whole = {f"phantom/{name}": data for name, data in contents(final if final.exists() else aside).items()}
        assert whole in (old, new), f"moment {moment}: data were lost"
        assert forked(run(5)) == 0, f"moment {moment}: did not go on"
        assert contents(out) == new, f"moment {moment}: other bytes, or something was left"
        if code == 0:
            return moment - 1
    raise AssertionError("the build does not end")


if __name__ == "__main__":
    print(die_everywhere(Path(sys.argv[1])))
