"""The script on the hosts of a pod, run for real in two home directories on this machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medslip_jax.cli import launch as verb
from medslip_jax.launch.tpu import WORKER

# Stands for `python -m medslip_jax.cli.main VERB ...`: says what it was given, saves on SIGTERM, ends with the code
# that is next in the file `codes`.
TRAINING = """
import signal, sys, time
from pathlib import Path
home = Path.home()
def save(number, frame):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
with (home / "runs").open("a") as runs:
    runs.write(repr(sys.argv[3:]) + "\\n")
print("training", sys.argv[3:], flush=True)
while (home / "wait").exists():
    time.sleep(0.05)
codes = (home / "codes").read_text().split() if (home / "codes").exists() else ["0"]
(home / "codes").write_text(" ".join(codes[1:] or codes))
sys.exit(int(codes[0]))
"""


@pytest.fixture
def homes(tmp_path) -> list[Path]:
    """Two hosts with our script, and a Python of the package that is `TRAINING`."""
    made = []
    for number in range(2):
        home = tmp_path / f"host {number}"
        (home / "medslip_env/bin").mkdir(parents=True)
        (home / "training.py").write_text(TRAINING)
        python = home / "medslip_env/bin/python"
        python.write_text(f'#!/usr/bin/env bash\nexec {sys.executable} "$HOME/training.py" "$@"\n')
        python.chmod(0o755)
        shutil.copy(WORKER, home)
        made.append(home)
    return made


def start(home, *words) -> subprocess.Popen:
    """As ssh would."""
    command = ["bash", "medslip_worker.sh", *words]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=home, env={**os.environ, "HOME": str(home)}, text=True, **streams)


def until(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(home) -> list[str]:
    file = home / "runs"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck():
    subprocess.run(["shellcheck", str(WORKER)], check=True)


def test_run_shows_the_output_and_ends_with_the_code(homes):
    (homes[0] / "codes").write_text("7 0")
    process = start(homes[0], "run", "pretrain", "--workdir", "a b")
    out = process.communicate(timeout=300)[0]
    assert out == "training ['pretrain', '--workdir', 'a b']\n"
    assert process.returncode == 7
    # It has ended, so the same command starts it again.
    process = start(homes[0], "run", "pretrain", "--workdir", "a b")
    assert process.communicate(timeout=300)[0] == out
    assert process.returncode == 0
    assert runs(homes[0]) == ["['pretrain', '--workdir', 'a b']"] * 2


def test_a_lost_connection_does_not_end_the_training(homes):
    (homes[0] / "wait").touch()
    connection = start(homes[0], "run", "pretrain")
    until(lambda: runs(homes[0]))
    connection.kill()
    connection.wait()
    again = start(homes[0], "run", "pretrain")
    assert "following the training that runs on" in again.stdout.readline()
    other = start(homes[0], "run", "pretrain", "--config.seed=1")
    assert "another training runs on" in other.communicate(timeout=300)[0]
    assert other.returncode == 2
    for step in (("install", "nothing"), ("setup", "touch changed")):
        step = start(homes[0], *step)
        assert "is left out" in step.communicate(timeout=300)[0]
        assert step.returncode == 0
    assert not (homes[0] / "changed").exists()
    (homes[0] / "wait").unlink()
    assert again.communicate(timeout=300)[0] == "training ['pretrain']\n"
    assert again.returncode == 0
    assert len(runs(homes[0])) == 1


def test_stop_saves(homes):
    (homes[0] / "wait").touch()
    training = start(homes[0], "run", "pretrain")
    until(lambda: runs(homes[0]))
    stop = start(homes[0], "stop")
    assert "ended with 75 on" in stop.communicate(timeout=300)[0]
    assert stop.returncode == 0
    assert training.communicate(timeout=300)[0] == "training ['pretrain']\nsaved\n"
    assert training.returncode == 75
    nothing_runs = start(homes[0], "stop")
    assert nothing_runs.communicate(timeout=300)[0] == ""
    assert nothing_runs.returncode == 0


def test_a_killed_starter_is_worth_another_run(homes):
    (homes[0] / "wait").touch()
    process = start(homes[0], "run", "pretrain")
    until(lambda: runs(homes[0]))
    for name in ("starter", "training"):
        os.kill(int((homes[0] / ".medslip_launch" / name).read_text()), signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode == 70


def test_setup_and_unknown(homes):
    process = start(homes[0], "setup", "echo 'two words' > made; exit 3")
    process.communicate(timeout=300)
    assert process.returncode == 3
    assert (homes[0] / "made").read_text() == "two words\n"
    process = start(homes[0], "deploy")
    assert process.communicate(timeout=300)[0] == "unknown: deploy\n"
    assert process.returncode == 2


def test_install(homes, put_program):
    """What uv and gcloud are asked; that uv understands it was tried by hand (docs/pods.md)."""
    note = '#!/usr/bin/env bash\necho "$(basename "$0") $*" >> "$HOME/asked"\n'
    put_program("uv", note)
    put_program("gcloud", note)
    for words in (["medslip_jax[tpu]==1.0", "python3.12.txt"], ["gs://b/dist/medslip_jax-1.0-py3-none-any.whl"]):
        process = start(homes[1], "install", *words)
        assert process.communicate(timeout=300)[0] == ""
        assert process.returncode == 0
    home = homes[1]
    venv = f"uv venv --quiet --allow-existing --python 3.12 {home}/medslip_env"
    package = f"uv pip install --quiet --reinstall-package medslip-jax --python {home}/medslip_env/bin/python"
    assert (home / "asked").read_text().splitlines() == [
        venv,
        f"{package} --constraint python3.12.txt medslip_jax[tpu]==1.0",
        venv,
        f"gcloud storage cp gs://b/dist/medslip_jax-1.0-py3-none-any.whl {home}/",
        f"{package} ./medslip_jax-1.0-py3-none-any.whl[tpu]",
    ]


def test_a_whole_launch_on_two_hosts(homes, gcloud, config, put_program):
    """The launcher, the script and two hosts: saved on one of them, then done; each host ran the same words twice."""
    put_program("uv", "#!/usr/bin/env bash\n")
    gcloud.answers(requests=["ABSENT", "ABSENT", "ACTIVE"], hosts=[str(home) for home in homes])
    (homes[1] / "codes").write_text("75 0")
    flags = ["--name", "a", "--zone", "z", "--type", "v4-16", "--install", "medslip_jax[tpu]", "--poll_seconds", "0.01"]
    command = ["pretrain", "--config", f"{config}:tiny,x='1 2'", "--workdir", "/mnt/my runs", "--config.data.dir=$HOME"]
    assert verb.main(["tpu", *flags, "--setup", "cat *config.py > seen", "--", *command]) == 0
    ran = ["pretrain", "--config", "my config.py:tiny,x='1 2'", "--workdir", "/mnt/my runs", "--config.data.dir=$HOME"]
    for home in homes:
        assert runs(home) == [repr([*ran, "--distributed", "tpu"])] * 2
        assert (home / "seen").read_text() == config.read_text()
    once = ["scp", "ssh install", "ssh setup", "ssh run"]
    assert gcloud.verbs() == ["create", *once, *once, "delete"]
