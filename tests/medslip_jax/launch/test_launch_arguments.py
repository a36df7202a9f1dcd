import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medslip_jax.cli import launch as verb
from medslip_jax.errors import InputError
from medslip_jax.exit_codes import worth_another_run
from medslip_jax.launch.arguments import split, value_of, with_value
from medslip_jax.launch.commands import shown
from medslip_jax.launch.gcloud import Pod

COMMAND = ["--", "pretrain", "--config", "a.py", "--workdir", "/gcs/b/runs"]
LOCAL = ["local", "--processes", "2", "--dry_run"]
TPU = ["tpu", "--name", "a", "--zone", "z", "--type", "v5litepod-16", "--install", "p", "--dry_run"]
GKE = ["gke", "--name", "a", "--accelerator", "tpu-v6e-slice", "--topology", "4x4", "--image", "i", "--bucket", "b"]
SLURM = ["slurm", "--nodes", "2", "--gpus_per_node", "4", "--time", "24:00:00", "--dry_run"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (LOCAL, "the command to launch is missing: end with -- pretrain"),
        ([*LOCAL, "--"], "the command to launch is missing"),
        ([*LOCAL, "--", "evaluate", "--config", "a"], "-- evaluate: what can be launched is pretrain or finetune"),
        ([*LOCAL, "--", "pretrain", "--workdir", "w"], "--config is missing after --"),
        ([*LOCAL, "--", "pretrain", "--config", "a.py"], "--workdir is missing after --"),
        ([*LOCAL, *COMMAND, "--process_id", "0"], "--process_id after --: leave it out, launch adds it"),
        ([*LOCAL, *COMMAND, "--distributed=off"], "--distributed after --: leave it out"),
        ([*LOCAL, *COMMAND, "--dry_run"], "--dry_run after --: put it before"),
        ([*LOCAL, "--processes", "0", *COMMAND], "--processes 0: give 1 or more"),
        ([*LOCAL, "--retries", "-1", *COMMAND], "--retries -1: give 0 or more"),
        ([*TPU, "--name", "Pod", *COMMAND], "--name Pod: give up to 63 lower-case letters"),
        ([*TPU, "--name", "pod-", *COMMAND], "--name pod-: give up to 63"),
        ([*TPU, "--type", "v9-8", *COMMAND], "--type v9-8: no runtime version is known for it; add --version"),
        ([*TPU, *COMMAND], "--config a.py: no such file; it is copied to all hosts from here"),
        ([*TPU, "--", "pretrain", "--config", "a", "--workdir", "runs"], "--workdir runs: pods lose their own disks"),
        ([*GKE, "--name", "a" * 41, *COMMAND], f"--name {'a' * 41}: give up to 40"),
        ([*GKE, "--accelerator", "tpu", *COMMAND], "--accelerator tpu: give one of tpu-v4-podslice"),
        ([*GKE, "--topology", "4x4x4", *COMMAND], "--topology 4x4x4: tpu-v6e-slice has 2 dimensions, such as 4x4"),
        ([*GKE, "--chips_per_host", "3", *COMMAND], "--topology 4x4: 16 chips are not a multiple of 3 a host"),
        ([*GKE, "--bucket", "gs://b", *COMMAND], "--bucket gs://b: give the bare name of a bucket"),
        ([*GKE[:-2], "--", "pretrain", "--config", "a", "--workdir", "/w"], "--workdir /w: nothing is mounted without"),
        (
            [*GKE, "--bucket", "b", "--", "pretrain", "--config", "a", "--workdir", "/gcs/bb/r"],
            "--workdir /gcs/bb/r: only /gcs/b is mounted",
        ),
        ([*SLURM, "--time", "a day", *COMMAND], "--time a day: give MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS"),
        ([*SLURM, "--partition", "a b", *COMMAND], "--partition a b: letters, digits"),
        ([*SLURM, "--nodes", "0", *COMMAND], "--nodes 0: give 1 or more"),
    ],
)
def test_bad_arguments_are_one_line(argv, message):
    with pytest.raises(InputError) as error:
        verb.main(argv)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", [[], ["local"], ["tpu"], ["gke"], ["slurm"]])
def test_help_needs_no_command(target, capsys):
    with pytest.raises(SystemExit) as stop:
        verb.main([*target, "--help"])
    assert stop.value.code == 0
    assert "usage: medslip launch" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["cloud"], ["local"], [*LOCAL, "--process", "2"]])
def test_flags_that_argparse_refuses_end_with_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        verb.main(argv)
    assert stop.value.code == 2
    assert "usage: medslip launch" in capsys.readouterr().err


def test_launching_needs_no_jax():
    code = (
        "import sys; from medslip_jax.cli import launch; "
        "bad = {'jax', 'flax', 'numpy', 'yaml'} & set(sys.modules); sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_split():
    assert split(["local", "--", "a", "--", "b"]) == {"flags": ["local"], "command": ["a", "--", "b"]}


def test_value_of():
    command = ["pretrain", "--config=a.py:x=1", "--workdir", "w", "--config", "b.py"]
    assert value_of(command, "--config") == "b.py"
    assert value_of(command, "--workdir") == "w"
    assert value_of(command, "--seed") == ""
    assert value_of(["--config"], "--config") == ""
    # Keys of a config are other flags.
    assert value_of(["--config.data.dir=x"], "--config") == ""
    assert with_value(command, "--config", "c") == ["pretrain", "--config=c", "--workdir", "w", "--config", "c"]


WORDS = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)))


@given(st.lists(WORDS, min_size=1), st.dictionaries(st.from_regex(r"[A-Z]+", fullmatch=True), WORDS, max_size=2))
def test_a_shown_command_reads_back_to_the_same_words(words, environment):
    before = ["env", *(f"{key}={value}" for key, value in environment.items())] if environment else []
    assert shlex.split(shown(words, environment)) == [*before, *words]


@given(st.lists(WORDS, min_size=1))
def test_a_command_for_all_hosts_reads_back_twice(words):
    # Once by the shell that our line is pasted into, once by that of the host.
    pod = Pod("a", "z", "v4-8", "v")
    line = shlex.split(shown(pod.ssh(words)))
    remote = next(word for word in line if word.startswith("--command=")).partition("=")[2]
    assert shlex.split(remote) == words


@pytest.mark.parametrize(
    ("code", "again"),
    [(0, False), (1, False), (2, False), (130, False), (70, True), (75, True), (137, True), (-9, True), (255, True)],
)
def test_worth_another_run(code, again):
    assert worth_another_run(code) is again
