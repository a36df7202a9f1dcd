"""`medslip pretrain` and other verbs in processes of their own, for tests of preemption, kills, several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from places import ROOT
from warm_processes import FORKS, free_port, see_devices

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


class Verb:
    """`medslip VERB ...` with its output in a file, so that nobody has to drain a pipe."""

    def __init__(self, argv: list[str], *, log: Path, devices: int = 1):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self._log, self._start = log, log.stat().st_size
        self.process = FORKS.Process(target=_main, args=(argv, log, devices))
        self.process.start()

    def wait(self, seconds: float = 900) -> int:
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, seconds)
        return self.process.exitcode

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, signum)

    def output(self) -> str:
        """Of this process; a file may have that of earlier ones before it."""
        return self._log.read_bytes()[self._start :].decode(errors="replace")

    def until(self, reached, *, seconds: float = 600) -> None:
        """Waits until `reached()`; fails if the process ends before."""
        end = time.monotonic() + seconds
        while not reached():
            assert self.process.exitcode is None, self.output()[-3000:]
            assert time.monotonic() < end, self.output()[-3000:]
            time.sleep(0.01)

    def until_stepping(self) -> None:
        """Until the progress bar shows this process's first step."""
        self.until(lambda: "loss " in self.output())


class Run(Verb):
    """A small pre-training run."""

    def __init__(self, workdir: Path, data: Path, *extra: str, devices: int = 1, name: str = "run"):
        config = f"--config={ROOT / 'configs' / 'phantom.py'}:tiny"
        argv = ["pretrain", config, f"--workdir={workdir}", f"--config.data.dir={data}", *TINY, *extra]
        super().__init__(argv, log=workdir / f"{name}.log", devices=devices)
        self.workdir = workdir


def _main(argv: list[str], log: Path, devices: int) -> None:
    """What `python -m medslip_jax.cli.main` does, in a fork."""
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            stream.reconfigure(line_buffering=True)
    os.chdir(ROOT)
    see_devices(devices)
    from medslip_jax.cli import main

    sys.exit(main.main(argv))


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
