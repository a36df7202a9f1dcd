"""`medslip launch tpu` against a gcloud that notes its calls (fake_gcloud.py)."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from medslip_jax.cli import launch as verb
from medslip_jax.errors import InputError
from medslip_jax.launch.tpu import WORKER

WHERE = ["--zone=us-west4-a", "--project=p"]


def argv(config, *flags):
    own = ["tpu", "--name", "a", "--zone", "us-west4-a", "--type", "v5litepod-16", "--project", "p", "--spot"]
    own += ["--install", "medslip_jax[tpu]", "--poll_seconds", "0.01", *flags]
    command = ["pretrain", "--config", f"{config}:tiny", "--workdir", "/mnt/b/my runs", "--config.seed=1"]
    return [*own, "--", *command]


CREATE = [
    *("compute", "tpus", "queued-resources", "create", "a", *WHERE, "--node-id=a", "--accelerator-type=v5litepod-16"),
    *("--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--quiet"),
]
DELETE = ["compute", "tpus", "queued-resources", "delete", "a", *WHERE, "--force", "--quiet"]
DESCRIBE = ["compute", "tpus", "queued-resources", "describe", "a", *WHERE, "--format=yaml(state)", "--quiet"]
LOOK = [
    *("compute", "tpus", "queued-resources", "list", *WHERE),
    *("--format=value(name.basename(),state.state)", "--quiet"),
]
LOOK_AT_MACHINES = ["compute", "tpus", "tpu-vm", "list", *WHERE, "--format=value(name.basename(),state)", "--quiet"]


def ssh(command):
    return [
        *("compute", "tpus", "tpu-vm", "ssh", "a", "--worker=all", f"--command={command}"),
        *("--ssh-flag=-oServerAliveInterval=30", *WHERE, "--quiet"),
    ]


def steps(config):
    """What brings the training to an active pod and runs it."""
    return [
        ["compute", "tpus", "tpu-vm", "scp", str(WORKER), str(config), "a:", "--worker=all", *WHERE, "--quiet"],
        ssh("bash medslip_worker.sh install 'medslip_jax[tpu]'"),
        ssh(
            "bash medslip_worker.sh run pretrain --config 'my config.py:tiny' --workdir '/mnt/b/my runs' "
            "--config.seed=1 --distributed tpu"
        ),
    ]


def test_success(gcloud, config, capsys):
    gcloud.answers(requests=["ABSENT", "ABSENT", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
    assert verb.main(argv(config)) == 0
    waiting = [LOOK, LOOK, LOOK]
    assert gcloud.calls() == [LOOK, LOOK, CREATE, *waiting, *steps(config), LOOK, DELETE]
    out = capsys.readouterr().out
    assert "a: WAITING_FOR_RESOURCES after 0 min; waiting at most 1440 min" in out
    assert "a: PROVISIONING after 0 min" in out


def test_preempted_then_success(gcloud, config, capsys):
    states = ["ABSENT", "ABSENT", "ACTIVE", "SUSPENDED", "SUSPENDED", "ABSENT", "ACTIVE"]
    gcloud.answers(requests=states, run=[255, 0])
    assert verb.main(argv(config)) == 0
    first = [LOOK, LOOK, CREATE, LOOK, *steps(config), LOOK]
    assert gcloud.calls() == [*first, LOOK, DELETE, LOOK, CREATE, LOOK, *steps(config), LOOK, DELETE]
    assert "a was taken away: running the same command again, 20 of 20 retries left" in capsys.readouterr().out


def test_machine_taken_before_the_request_shows_it(gcloud, config):
    states = ["ABSENT", "ABSENT", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED", "ABSENT", "ACTIVE"]
    gcloud.answers(requests=states, machines=["PREEMPTED", "READY"], run=[1, 0])
    assert verb.main(argv(config)) == 0
    assert LOOK_AT_MACHINES in gcloud.calls()
    assert gcloud.verbs().count("create") == 2


def test_saved_or_stuck_on_a_pod_that_stays_runs_again_there(gcloud, config):
    gcloud.answers(requests=["ABSENT", "ABSENT", "ACTIVE"], run=[75, 70, 0])
    assert verb.main(argv(config)) == 0
    once = ["scp", "ssh install", "ssh run"]
    assert gcloud.verbs() == ["create", *once, *once, *once, "delete"]


@pytest.mark.parametrize(("code", "looks"), [(2, 0), (1, 1)])
def test_failures_that_would_come_again_are_not_retried(gcloud, config, code, looks):
    gcloud.answers(requests=["ABSENT", "ABSENT", "ACTIVE"], run=[code, 0])
    assert verb.main(argv(config)) == code
    assert gcloud.verbs() == ["create", "scp", "ssh install", "ssh run", "delete"]
    assert gcloud.calls().count(LOOK_AT_MACHINES) == looks


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", ["--config.sead=1"], r"the config has no key 'sead'"),
        ("", ["--config.seed", "x"], r"x"),
        ("import nowhere\n", [], r"--config .*my config\.py: line 1: ModuleNotFoundError: .* \(nothing was asked for"),
        (
            "from pathlib import Path\n\nPath(__file__).with_name('other.py').read_text()\n",
            [],
            r"other\.py.*this file alone",
        ),
    ],
    ids=["key", "value", "import", "file beside it"],
)
def test_a_config_that_the_hosts_would_refuse_is_refused_here(gcloud, config, text, more, message):
    config.with_name("other.py").write_text("")
    config.write_text(text + config.read_text())
    with pytest.raises(InputError, match=message):
        verb.main([*argv(config), *more])
    assert gcloud.calls() == []


def test_the_queue_takes_too_long(gcloud, config, capsys):
    gcloud.answers(requests=["ABSENT", "ABSENT", "WAITING_FOR_RESOURCES"])
    assert verb.main(argv(config, "--queue_minutes", "0.001")) == 1
    assert gcloud.verbs() == ["create", "delete"]
    assert "a is still WAITING_FOR_RESOURCES: given up" in capsys.readouterr().out


def test_retries_run_out(gcloud, config, capsys):
    once = ["ABSENT", "ACTIVE", "SUSPENDED", "SUSPENDED"]
    gcloud.answers(requests=["ABSENT", *once, *once], run=[255])
    assert verb.main([*argv(config, "--retries", "1")]) == 75
    assert gcloud.verbs() == ["create", "scp", "ssh install", "ssh run", "delete"] * 2
    assert "no retries left; the same command goes on from the last checkpoint" in capsys.readouterr().out


def test_a_request_that_fails_is_explained_and_made_again(gcloud, config, capsys):
    gcloud.answers(requests=["ABSENT", "ABSENT", "FAILED", "FAILED", "ABSENT", "ACTIVE"])
    assert verb.main(argv(config)) == 0
    assert DESCRIBE in gcloud.calls()
    assert gcloud.verbs() == ["create", "describe", "delete", "create", "scp", "ssh install", "ssh run", "delete"]
    assert "a could not be had: FAILED" in capsys.readouterr().out


def test_goes_on_with_a_pod_of_that_name(gcloud, config, capsys):
    assert verb.main(argv(config, "--keep")) == 0
    assert gcloud.calls() == [LOOK, LOOK, LOOK, *steps(config)]
    out = capsys.readouterr().out
    assert "a is there already, ACTIVE" in out
    assert "kept, and costs money until: gcloud compute tpus queued-resources delete a" in out


def test_a_dead_request_of_that_name_is_replaced(gcloud, config):
    gcloud.answers(requests=["SUSPENDED", "SUSPENDED", "SUSPENDED", "ACTIVE"])
    assert verb.main(argv(config)) == 0
    assert gcloud.verbs() == ["delete", "create", "scp", "ssh install", "ssh run", "delete"]


def test_refused_request(gcloud, config):
    gcloud.answers(requests=["ABSENT"], create=[1])
    with pytest.raises(InputError, match="--name a: gcloud refused the request"):
        verb.main(argv(config))
    assert gcloud.verbs() == ["create"]


def test_gcloud_without_access(gcloud, config):
    gcloud.answers(requests=["ERROR"])
    with pytest.raises(InputError, match="gcloud cannot list TPUs in --zone us-west4-a"):
        verb.main(argv(config))
    assert gcloud.verbs() == []


def test_a_network_that_comes_back(gcloud, config):
    states = ["ABSENT", "ABSENT", "ACTIVE", "ERROR", "ERROR", "ERROR", "ACTIVE"]
    gcloud.answers(requests=states, run=[255, 0])
    assert verb.main(argv(config)) == 0
    assert gcloud.verbs().count("create") == 1


def test_a_pod_that_cannot_be_deleted(gcloud, config, capsys):
    gcloud.answers(requests=["ABSENT", "ABSENT", "ACTIVE"], delete=[1])
    assert verb.main(argv(config)) == 0
    assert gcloud.verbs()[-3:] == ["delete"] * 3
    assert "a COULD NOT BE DELETED AND COSTS MONEY; delete it by hand: gcloud compute" in capsys.readouterr().out


def test_wheel_and_setup(gcloud, config, tmp_path):
    wheel = tmp_path / "medslip_jax-1.0-py3-none-any.whl"
    wheel.write_text("")
    setup = "gcloud storage cp -r 'gs://b/my data' ."
    flags = argv(config, "--install", str(wheel), "--setup", setup)
    assert verb.main(flags) == 0
    copied, install, set_up, _ = [call for call in gcloud.calls() if call[3] in ("scp", "ssh")]
    assert copied[4:8] == [str(WORKER), str(config), str(wheel), "a:"]
    assert install == ssh("bash medslip_worker.sh install './medslip_jax-1.0-py3-none-any.whl[tpu]'")
    assert shlex.split(set_up[6].partition("=")[2]) == ["bash", "medslip_worker.sh", "setup", setup]


def test_versions_of_a_constraints_file(gcloud, config, tmp_path):
    versions = tmp_path / "python3.12.txt"
    versions.write_text("jax==0.12.0.1\n")
    assert verb.main(argv(config, "--constraints", str(versions))) == 0
    copied, install, _ = [call for call in gcloud.calls() if call[3] in ("scp", "ssh")]
    assert copied[4:8] == [str(WORKER), str(config), str(versions), "a:"]
    assert install == ssh("bash medslip_worker.sh install 'medslip_jax[tpu]' python3.12.txt")
    with pytest.raises(InputError, match=r"--constraints no.txt: no such file"):
        verb.main(argv(config, "--constraints", "no.txt"))


def test_a_wheel_that_is_not_here(gcloud, config):
    with pytest.raises(InputError, match=r"--install dist/x.whl: no such file"):
        verb.main(argv(config, "--install", "dist/x.whl"))


def test_without_gcloud(config, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="gcloud is not on PATH: install the Google Cloud CLI, or look at"):
        verb.main(argv(config))


def test_dry_run_prints_what_a_run_calls(gcloud, config, capsys):
    assert verb.main(argv(config, "--dry_run")) == 0
    assert gcloud.calls() == []
    printed = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [["gcloud", *call] for call in [CREATE, *steps(config), DELETE]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(gcloud, config, tmp_path, put_program, number):
    """Nothing is deleted, and the user is told what costs money and how to end it."""
    text = (tmp_path / "bin" / "gcloud").read_text()
    # A signal that comes just before the launcher waits for gcloud is handled when gcloud ends.
    put_program("gcloud", text.replace("verb = command.split()[2]", "__import__('time').sleep(20)"))
    code = "import sys; from medslip_jax.cli.launch import main; sys.exit(main(sys.argv[1:]))"
    run = subprocess.Popen([sys.executable, "-c", code, *argv(config)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while "ssh" not in str(gcloud.calls()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(run.pid, number)
    out = run.communicate(timeout=300)[0]
    assert run.returncode == 130
    assert "Nothing was deleted: if a exists, it costs money" in out
    assert "save and stop the training: gcloud compute tpus tpu-vm ssh a --worker=all" in out
    assert "delete the pod: gcloud compute tpus queued-resources delete a --zone=us-west4-a" in out
    assert "delete" not in [call[3] for call in gcloud.calls()]


def test_the_fake_reads_its_script(gcloud, tmp_path):
    gcloud.answers(requests=["ERROR", "ACTIVE"])
    command = ["gcloud", "compute", "tpus", "queued-resources", "list"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "another\tACTIVE\na\tACTIVE\n"
    assert json.loads((tmp_path / "gcloud.json").read_text()) == {"requests": ["ACTIVE"]}
