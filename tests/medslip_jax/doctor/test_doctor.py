"""The report as a user gets it: a process, with and without things that are wrong."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from medslip_jax.cli import doctor as doctor
from medslip_jax.doctor.findings import Section
from medslip_jax.doctor.machine import shared_memory


def report(*argv, code: int, **env) -> dict:
    command = [sys.executable, "-m", "medslip_jax.cli.main", "doctor", "--json", *map(str, argv)]
    run = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    return json.loads(run.stdout)


def test_nothing_is_wrong_here(phantom_data):
    found = report("--data_dir", phantom_data, code=0)
    assert found["ok"] and found["problems"] == []
    assert found["devices"]["platform"] == "cpu" and found["devices"]["2 + 2"] == 4
    assert list(found["data"].values())[1:] == [{"train": 24, "validation": 8, "test": 16}]
    assert found["text tables"]["rows"] == {"pathologies": 75, "anatomies": 51, "wide": 384}
    assert found["compilation cache"]["path"] == os.environ["JAX_COMPILATION_CACHE_DIR"]


def test_everything_that_is_wrong_is_numbered_with_its_next_step(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    assert doctor.main(["--data_dir", str(tmp_path / "none")]) == 1
    text = capsys.readouterr().out
    wrong = text.partition("3 wrong:\n")[2].splitlines()
    assert [line.partition(".")[0] for line in wrong[::2]] == ["1", "2", "3"]
    assert all(line.startswith("   -> ") for line in wrong[1::2])
    assert "'abacus'" in wrong[0] and "JAX_PLATFORMS=abacus asks for it: unset it" in wrong[1]
    assert "file/cache: cannot be written (Not a directory)" in wrong[2] and "JAX_COMPILATION_CACHE_DIR" in wrong[3]
    assert "none: no such folder" in wrong[4] and "medslip data build phantom --out" in wrong[5]


def test_the_text_of_one_problem_and_of_none():
    section = Section("machine", {"cores": 2})
    assert doctor.as_text([section]) == "machine\n  cores  2\n\nnothing is wrong"
    section.complain("the lamp is off", next_step="turn it on")
    assert doctor.as_text([section]).splitlines()[3:] == [
        "one thing is wrong:",
        "1. the lamp is off",
        "   -> turn it on",
    ]
    assert doctor.as_json([section]) == {
        "ok": False,
        "problems": [{"what": "the lamp is off", "next_step": "turn it on"}],
        "machine": {"cores": 2},
    }


@pytest.mark.parametrize("module", ["jax", "grain", "tensorflow_datasets", "torch", "numpy"])
def test_the_verb_itself_imports_nothing_that_may_be_broken(module):
    code = f"import sys, medslip_jax.cli.doctor; sys.exit({module!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shared_memory_that_is_missing_or_small(tmp_path, monkeypatch):
    section = Section("machine")
    shared_memory(section, where=tmp_path / "shm")
    assert section.facts["shared memory"] == f"{tmp_path / 'shm'} is missing or cannot be written"
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5 << 20))
    shared_memory(section, where=tmp_path)
    assert [problem.what for problem in section.problems] == [
        f"{tmp_path / 'shm'} is missing or cannot be written",
        f"{tmp_path}: only 5 MiB are free",
    ]
    assert "--config.data.workers=0" in section.problems[0].next_step
