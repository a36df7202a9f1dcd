"""The sbatch script: its text, shellcheck, and what it does with a Slurm that notes its calls."""

import json
import os
import shlex
import shutil
import subprocess

import pytest

from medslip_jax.cli import launch as verb

FLAGS = ["slurm", "--nodes", "2", "--gpus_per_node", "4", "--time", "1-12:00:00", "--python", "/opt/my env/bin/python"]
COMMAND = ["--", "pretrain", "--config", "configs/a b.py:x='1 2'", "--workdir", "runs/a", "--config.y=$HOME"]
ALL = ["--partition", "gpu", "--account", "chest.x", "--cpus_per_task", "12", "--retries", "3", "--name", "chest"]
NOTE = """
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
sys.exit(int(os.environ.get("CODE_" + os.path.basename(sys.argv[0]), "0")))
"""


def written(tmp_path, *flags):
    file = tmp_path / "a.sbatch"
    assert verb.main([*FLAGS, *flags, "--out", str(file), *COMMAND]) == 0
    return file


def directives(file) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in file.read_text().splitlines() if line.startswith("#SBATCH")]


def test_directives(tmp_path):
    assert directives(written(tmp_path, *ALL)) == [
        *("--job-name=chest", "--nodes=2", "--ntasks-per-node=4", "--time=1-12:00:00", "--gpus-per-node=4"),
        *("--partition=gpu", "--account=chest.x", "--cpus-per-task=12"),
        *("--requeue", "--signal=TERM@120", "--open-mode=append", "--output=chest_%j.out"),
    ]


def test_without_gpus_one_process_a_node(tmp_path):
    lines = directives(written(tmp_path, "--gpus_per_node", "0"))
    assert "--ntasks-per-node=1" in lines
    assert not [line for line in lines if "gpu" in line]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("flags", [[], ALL])
def test_shellcheck(tmp_path, flags):
    subprocess.run(["shellcheck", str(written(tmp_path, *flags))], check=True)


@pytest.fixture
def cluster(tmp_path, put_program, monkeypatch):
    """(script, code, restarts) -> {"calls", "code"}: the script as Slurm runs it, srun ending with `code`."""
    for name in ("srun", "scontrol", "sbatch"):
        put_program(name, NOTE)
    calls = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))

    def run(file, *, code: int, restarts: int | None = None) -> dict:
        calls.unlink(missing_ok=True)
        environment = {**os.environ, "CODE_srun": str(code), "SLURM_JOB_ID": "17"}
        if restarts is not None:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
        result = subprocess.run(["bash", str(file)], env=environment, check=False, capture_output=True, text=True)
        assert result.stderr == ""
        return {"calls": [json.loads(line) for line in calls.read_text().splitlines()], "code": result.returncode}

    return run


def test_the_step(cluster, tmp_path):
    done = cluster(written(tmp_path, *ALL), code=0)
    assert done["code"] == 0
    assert done["calls"] == [
        [
            *("srun", "--kill-on-bad-exit=0", "--wait=600", "--cpus-per-task=12"),
            *("/opt/my env/bin/python", "-m", "medslip_jax.cli.main", "pretrain", "--config", "configs/a b.py:x='1 2'"),
            *("--workdir", "runs/a", "--config.y=$HOME", "--distributed", "slurm"),
        ]
    ]


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [
        (75, None, True),
        (75, 2, True),
        (75, 3, False),
        (70, None, True),
        (137, None, True),
        (0, None, False),
        (1, None, False),
        (2, None, False),
        # Ctrl-C, or scancel --signal=INT.
        (130, None, False),
        # srun's code for a task that ran out of memory.
        (253, None, False),
    ],
)
def test_requeue(cluster, tmp_path, code, restarts, again):
    ended = cluster(written(tmp_path, *ALL), code=code, restarts=restarts)
    assert ended["code"] == code
    assert ended["calls"][1:] == ([["scontrol", "requeue", "17"]] if again else [])


def test_submit(cluster, tmp_path):
    file = tmp_path / "my job.sbatch"
    assert verb.main([*FLAGS, "--out", str(file), "--submit", *COMMAND]) == 0
    assert json.loads((tmp_path / "calls").read_text()) == ["sbatch", str(file)]


def test_dry_run_is_a_script_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert verb.main([*FLAGS, "--dry_run", "--submit", *COMMAND]) == 0
    out = capsys.readouterr().out
    assert out.startswith("#!/usr/bin/env bash\n")
    assert shlex.split(out.splitlines()[-1]) == ["#", "sbatch", "medslip.sbatch"]
    assert list(tmp_path.iterdir()) == []
