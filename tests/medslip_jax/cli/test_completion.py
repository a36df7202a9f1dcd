"""The bash script in a real bash; the other two by their grammar where the shell is there."""

import argparse
import shutil
import subprocess

import pytest
import shtab

from medslip_jax.cli import completion, main

pytestmark = pytest.mark.portable


@pytest.fixture(scope="module")
def verbs() -> argparse.ArgumentParser:
    return completion.all_verbs()


@pytest.fixture(scope="module")
def complete(verbs, tmp_path_factory):
    """Typed words -> what bash offers for the last one, run in a folder with one config file."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "medslip.bash").write_text(shtab.complete(verbs, shell="bash"))
    (folder / "my_config.py").touch()
    line = """source ./medslip.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _shtab_medslip medslip "${@: -1}" "${@: -2:1}"; printf "%s\\n" "${COMPREPLY[@]}"
    """

    def offered(*typed: str) -> list[str]:
        command = ["bash", "-c", line, "bash", "medslip", *typed]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert not run.stderr
        return run.stdout.split()

    return offered


def test_verbs(complete):
    assert complete("") == list(main.VERBS)
    assert complete("com") == ["compare", "compile", "completion"]
    assert complete("xyz") == []


def test_what_follows_a_verb(complete):
    assert complete("data", "")[:3] == ["build", "check", "show"]
    assert complete("launch", "s") == ["slurm"]
    assert complete("data", "build", "nih") == ["nih_cxr14"]
    assert complete("completion", "")[:2] == ["bash", "zsh"]


def test_flags_and_their_values(complete):
    assert complete("pretrain", "--wo") == ["--workdir"]
    assert complete("data", "build", "phantom", "--tr") == ["--train"]
    assert complete("launch", "tpu", "--zo") == ["--zone"]
    assert complete("launch", "local", "--zo") == []
    assert complete("predict", "--format", "") == ["csv", "json"]
    assert complete("finetune", "--test", "n") == ["never"]


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "evaluate", "sweep", "compile"])
def test_config_completes_files(complete, verb):
    assert "--config" in complete(verb, "--conf")
    assert complete(verb, "--config", "my") == ["my_config.py"]
    assert complete(verb, "--config", "")[0] in ("my_config.py", "medslip.bash")


def test_files_are_offered_where_they_make_sense(complete):
    assert "--data_dir" in complete("doctor", "--json", "--")
    assert complete("doctor", "--json", "my") == []
    assert complete("convert", "--from", "my") == ["my_config.py"]
    assert complete("data", "build", "phantom", "--workers", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_a_script_that_the_shell_reads(shell, capsys, tmp_path):
    assert main.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "medslip" in text and text.count("workdir") > 3
    # zsh would take the colon for one of its own.
    assert "FILE[:arg]" not in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine: its script was made, but not read by it")
    (tmp_path / "script").write_text(text)
    subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_fish(verbs, tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("fish is not on this machine")
    (tmp_path / "medslip.fish").write_text(shtab.complete(verbs, shell="fish"))

    def offered(line: str) -> list[str]:
        code = f"source medslip.fish; complete -C {line!r}"
        run = subprocess.run(["fish", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        return [answer.partition("\t")[0] for answer in run.stdout.splitlines()]

    assert {"pretrain", "data"} <= set(offered("medslip "))
    assert offered("medslip data b") == ["build"]
    assert "--train" in offered("medslip data build phantom --t")
    assert offered("medslip predict --format ") == ["csv", "json"]
    assert offered("medslip pretrain --config med") == ["medslip.fish"]
