"""Runs of `medslip pretrain` in processes of their own, for the tests of preemption, kills and several processes."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# A model that steps in tens of milliseconds.
TINY = (
    "--config.data.image_size=32",
    "--config.model.trunk_width=4",
    "--config.model.embed_dim=16",
    "--config.model.decoder_ffn_dim=32",
    "--config.model.decoder_layers=1",
    "--config.data.augment.randaugment_ops=2",
    "--config.eval_every=0",
    "--config.log_every=1",
)
# Its processes are forks of one that has imported the trainer: a start takes half as long.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["medslip_jax.pretrain"])


def command(workdir: Path, data: Path, *extra: str) -> list[str]:
    config = f"--config={ROOT / 'configs' / 'phantom.py'}:tiny"
    return [
        sys.executable,
        "-m",
        "medslip_jax.cli",
        "pretrain",
        config,
        f"--workdir={workdir}",
        f"--config.data.dir={data}",
        *TINY,
        *extra,
    ]


def environment(*, devices: int = 1) -> dict[str, str]:
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "PYTHONUNBUFFERED": "1"}


class Run:
    """One process with its output in a file, so that nobody has to drain a pipe."""

    def __init__(self, workdir: Path, data: Path, *extra: str, devices: int = 1, name: str = "run"):
        workdir.mkdir(parents=True, exist_ok=True)
        self.workdir = workdir
        self._log = workdir / f"{name}.log"
        self._log.touch()
        self._start = self._log.stat().st_size
        self.start(command(workdir, data, *extra), devices=devices)

    def start(self, argv: list[str], *, devices: int) -> None:
        with self._log.open("ab") as file:
            self.process = subprocess.Popen(argv, stdout=file, stderr=file, env=environment(devices=devices), cwd=ROOT)

    def wait(self, seconds: float = 900) -> int:
        return self.process.wait(timeout=seconds)

    def poll(self) -> int | None:
        return self.process.poll()

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, signum)

    def output(self) -> str:
        """Of this process; a file may have that of earlier ones before it."""
        return self._log.read_bytes()[self._start :].decode(errors="replace")

    def until(self, reached, *, seconds: float = 600) -> None:
        """Waits until `reached()`; fails if the process ends before."""
        end = time.monotonic() + seconds
        while not reached():
            assert self.poll() is None, self.output()[-3000:]
            assert time.monotonic() < end, self.output()[-3000:]
            time.sleep(0.01)

    def until_stepping(self) -> None:
        """Until the progress bar shows this process's first step."""
        self.until(lambda: "loss " in self.output())


class ForkedRun(Run):
    """A `Run` whose process is forked: alone with its signals and files, but warm."""

    def start(self, argv: list[str], *, devices: int) -> None:
        del devices  # one
        self.process = FORKS.Process(target=_verb, args=(argv[3:], self._log))
        self.process.start()

    def wait(self, seconds: float = 900) -> int:
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, seconds)
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode


def _verb(argv: list[str], log: Path) -> None:
    """What `python -m medslip_jax.cli` does, in a forked process."""
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            stream.reconfigure(line_buffering=True)
    os.chdir(ROOT)
    from medslip_jax import cli

    sys.exit(cli.main(argv))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def pair(workdir: Path, data: Path, *extra: str, devices: int = 4, timeout: int = 600) -> list[Run]:
    """Two processes of one run."""
    flags = (f"--coordinator=127.0.0.1:{free_port()}", "--processes=2", f"--connect_timeout={timeout}", *extra)
    return [Run(workdir, data, *flags, f"--process_id={i}", devices=devices, name=f"process{i}") for i in range(2)]


def lines(workdir: Path) -> list[dict]:
    file = workdir / "metrics.jsonl"
    found = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:  # being written
            break
    return found


def losses(workdir: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in lines(workdir) if "loss" in row}


def steps_saved(workdir: Path) -> list[int]:
    directory = workdir / "checkpoints"
    return sorted(int(d.name) for d in directory.iterdir() if d.name.isdigit()) if directory.is_dir() else []
