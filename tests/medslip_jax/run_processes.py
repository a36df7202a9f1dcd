"""Runs of `medslip pretrain` in processes of their own, for the tests of preemption, kills and several processes."""

import json
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
    "--config.model.trunk_width=8",
    "--config.model.embed_dim=16",
    "--config.model.decoder_ffn_dim=32",
    "--config.data.augment.randaugment_ops=2",
    "--config.eval_every=0",
    "--config.log_every=1",
)


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
    flags = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONUNBUFFERED": "1"}


class Run:
    """One process with its output in a file, so that nobody has to drain a pipe."""

    def __init__(self, workdir: Path, data: Path, *extra: str, devices: int = 1, name: str = "run"):
        workdir.mkdir(parents=True, exist_ok=True)
        self.workdir = workdir
        self._log = workdir / f"{name}.log"
        self._start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as file:
            self.process = subprocess.Popen(
                command(workdir, data, *extra), stdout=file, stderr=file, env=environment(devices=devices), cwd=ROOT
            )

    def wait(self, seconds: float = 900) -> int:
        return self.process.wait(timeout=seconds)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        self.process.send_signal(signum)

    def output(self) -> str:
        """Of this process; a file may have that of earlier ones before it."""
        return self._log.read_bytes()[self._start :].decode(errors="replace")

    def until(self, reached, *, seconds: float = 600) -> None:
        """Waits until `reached()`; fails if the process ends before."""
        end = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, self.output()[-3000:]
            assert time.monotonic() < end, self.output()[-3000:]
            time.sleep(0.01)

    def until_stepping(self) -> None:
        """Until the progress bar shows this process's first step."""
        self.until(lambda: "loss " in self.output())


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
