"""`medslip launch local` with small Python processes."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from medslip_jax.cli import launch as verb
from medslip_jax.errors import InputError
from medslip_jax.launch import local
from medslip_jax.launch.processes import run_together

pytestmark = pytest.mark.portable

COMMAND = ["--", "pretrain", "--config", "a b.py", "--workdir", "runs"]
SAVES = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); "


def python(*codes: str) -> list[list[str]]:
    return [[sys.executable, "-c", code] for code in codes]


def run_python(*codes: str, grace: float = 20.0) -> dict:
    """run_together on snippets of Python: {"code", "asked", "seconds"}."""
    start = time.monotonic()
    ended = run_together(python(*codes), grace=grace)
    return {"code": ended.code, "asked": ended.asked, "seconds": time.monotonic() - start}


def test_each_line_names_its_process(capfd):
    ended = run_python("print('one\\ntwo')", "import sys; print('three', file=sys.stderr)")
    assert ended["code"] == 0
    out, err = capfd.readouterr()
    assert out == "[0] one\n[0] two\n"
    assert err == "[1] three\n"


# One process ends when the launcher has seen the end of the other.
FIRST = "import os; open(FILE + '.new', 'w').write(str(os.getpid())); os.rename(FILE + '.new', FILE); "
AFTER = (
    "import os, time\n"
    "while not os.path.exists(FILE) or os.path.exists('/proc/' + open(FILE).read()): time.sleep(0.01)\n"
    "time.sleep(0.1)\n"
)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["", ""], 0),
        (["exit(3)"], 3),
        # The first failure counts, not what it does to the others.
        ([AFTER + "exit(4)", FIRST + "exit(5)"], 5),
        # Saved everywhere is saved; a failure is more than that, whenever it comes.
        (["exit(75)", "exit(75)"], 75),
        ([FIRST + "exit(75)", AFTER + "exit(3)"], 3),
        (["exit(75)", ""], 75),
        ([FIRST + "os.kill(os.getpid(), 9)", AFTER + "exit(70)"], 137),
    ],
)
def test_exit_code(codes, expected, tmp_path):
    assert run_python(*(code.replace("FILE", repr(str(tmp_path / "first"))) for code in codes))["code"] == expected


def test_a_failure_gives_the_others_their_time(capfd):
    ended = run_python("exit(3)", "import time; time.sleep(1); print('saved')")
    assert ended["code"] == 3
    assert "[1] saved" in capfd.readouterr().out


def test_and_then_ends_them(capfd):
    # The second ignores everything, and so does a helper that it started and that holds its output open.
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
    )
    ended = run_python("exit(3)", stubborn, grace=0.5)
    assert ended["code"] == 3
    assert ended["seconds"] < 300
    assert "1 process(es) did not end in 0.5 s after the first failure: killed" in capfd.readouterr().out


def test_a_process_that_is_done_waits_for_the_others_as_long_as_it_takes():
    assert run_python("", "import time; time.sleep(1.5)", grace=0.2)["code"] == 0


def test_a_helper_that_is_left_behind_does_not_hold_us():
    leaves = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    assert run_python(leaves)["seconds"] < 300


def launcher(*codes: str, grace: float = 20.0) -> subprocess.Popen:
    """run_together in a process of its own, which has started when its first line comes."""
    code = (
        "import sys; from medslip_jax.launch.processes import run_together; "
        f"ended = run_together({python(*codes)!r}, grace={grace}); print('asked', ended.asked); sys.exit(ended.code)"
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True)
    for _ in codes:
        assert "ready" in process.stdout.readline()
    return process


# In short sleeps: a signal just before one is handled after it.
READY = "print('ready', flush=True); [time.sleep(0.05) for _ in range(12000)]"


def test_sigterm_reaches_all_and_all_save():
    process = launcher(*[SAVES + READY] * 3)
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 75
    assert f"asked {int(signal.SIGTERM)}" in out


def test_sigint_reaches_all():
    process = launcher(*["import time; " + READY] * 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130


@pytest.mark.parametrize(("number", "heard"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_who_is_interrupted_says_nothing_more(number, heard):
    """As the process that sees the other one of its run gone."""
    late = f"import signal, sys, time; signal.signal({int(number)}, lambda *_: (print('gone'), sys.exit(75))); "
    process = launcher(*[late + READY] * 2)
    process.send_signal(number)
    assert ("gone" in process.communicate(timeout=300)[0]) == heard
    assert process.returncode == 75


def test_a_second_signal_kills():
    # Not by print: the handler may interrupt one.
    stubborn = "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'not now\\n')); "
    process = launcher(*[stubborn + READY] * 2)
    process.send_signal(signal.SIGTERM)
    assert "not now" in process.stdout.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == 137


def test_dry_run(capsys):
    assert verb.main(["local", "--processes", "2", "--devices_per_process", "4", "--dry_run", *COMMAND]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    where = lines[0][lines[0].index("--coordinator") + 1]
    assert where.startswith("127.0.0.1:")
    for i, line in enumerate(lines):
        assert line == [
            *("env", "PYTHONUNBUFFERED=1", "JAX_PLATFORMS=cpu", "JAX_NUM_CPU_DEVICES=4"),
            *(sys.executable, "-m", "medslip_jax.cli.main"),
            *("pretrain", "--config", "a b.py", "--workdir", "runs"),
            *("--coordinator", where, "--processes", "2", "--process_id", str(i)),
        ]


def test_one_process_meets_nobody(capsys):
    verb.main(["local", "--processes", "1", "--dry_run", *COMMAND])
    assert capsys.readouterr().out.endswith("--workdir runs --distributed off\n")


def test_gpus_are_shared_out(capsys, monkeypatch):
    argv = ["local", "--processes", "2", "--gpus_per_process", "2", "--dry_run", *COMMAND]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    verb.main(argv)
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == [
        "CUDA_VISIBLE_DEVICES=0,1",
        "CUDA_VISIBLE_DEVICES=2,3",
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    verb.main(argv)
    assert "CUDA_VISIBLE_DEVICES=6,7" in capsys.readouterr().out
    for few in ("4,5,6", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", few)
        with pytest.raises(InputError, match=f"--gpus_per_process 2: CUDA_VISIBLE_DEVICES='{few}' has too few"):
            verb.main(argv)


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """codes -> processes that end with them, one after the other; returns the file that notes each start."""

    def script(*codes: int) -> os.PathLike:
        file = tmp_path / "codes"
        file.write_text(" ".join(map(str, codes)))
        starts = tmp_path / "starts"
        code = (
            f"from pathlib import Path; file = Path({str(file)!r}); codes = file.read_text().split(); "
            f"file.write_text(' '.join(codes[1:])); Path({str(starts)!r}).open('a').write('x'); "
            "import os; c = int(codes[0]); os.kill(os.getpid(), -c) if c < 0 else exit(c)"
        )
        monkeypatch.setattr(local, "commands_of", lambda flags, command: python(code))
        return starts

    return script


@pytest.mark.parametrize(
    ("codes", "retries", "expected", "starts"),
    [
        ([75, 70, -9, 0], 5, 0, 4),
        ([75, 75, 75], 2, 75, 3),
        ([75, 0], 0, 75, 1),
        ([2, 0], 5, 2, 1),
        ([1, 0], 5, 1, 1),
    ],
)
def test_retries(scripted, codes, retries, expected, starts):
    noted = scripted(*codes)
    assert verb.main(["local", "--processes", "1", "--retries", str(retries), *COMMAND]) == expected
    assert len(noted.read_text()) == starts


def test_who_stops_us_is_obeyed(tmp_path):
    """A signal ends the launch, although 75 is otherwise a reason to start again."""
    code = (
        "import sys; from medslip_jax.cli import launch as main; from medslip_jax.launch import local; "
        f"local.commands_of = lambda *_: {python(SAVES + READY)!r}; "
        f"sys.exit(main.main({['local', '--processes', '1', '--retries', '9', *COMMAND]!r}))"
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True)
    assert "ready" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == 75
