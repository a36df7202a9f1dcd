"""Accounts of containers: no home directory, no entry in the list of users, read-only disks, other locales."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from run_processes import ROOT, TINY

from medslip_jax.parallel import compilation_cache
from medslip_jax.storage import home
from medslip_jax.training import writers

UID = 54321  # without an entry
# Python may lie below a directory of root's: reading everything is kept, writing is refused.
READS = "+dac_read_search"
OTHER_UID = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", f"--inh-caps=-all,{READS}"]
OTHER_UID += [f"--ambient-caps=-all,{READS}", f"--bounding-set=-all,{READS}"]
# Everything but $0, as below `docker run --read-only --volume $0`.
READ_ONLY = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd / && exec "$@"']
OF_THE_ACCOUNT = ("HOME", "USER", "LOGNAME", "TMPDIR", "HF_HOME", "MPLCONFIGDIR", compilation_cache.VARIABLE)


def environment(**changes: str) -> dict[str, str]:
    """Ours without what belongs to an account."""
    kept = {k: v for k, v in os.environ.items() if k not in OF_THE_ACCOUNT and not k.startswith("XDG_")}
    return kept | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | changes


def run(prefix: list[str], *argv: str, **changes: str) -> subprocess.CompletedProcess:
    """`medslip ...` as another account, in no particular folder."""
    return ran([*prefix, sys.executable, "-m", "medslip_jax.cli.main", *argv], **changes)


def ran(command: list[str], **changes: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        env=environment(**changes),
        cwd="/",
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def need(prefix: list[str]) -> None:
    """Skips where this machine does not allow it."""
    if shutil.which(prefix[0]) is None:
        pytest.skip(f"{prefix[0]} is not here")
    tried = ran([*prefix, sys.executable, "-c", "pass"])
    if tried.returncode:
        pytest.skip(f"{prefix[0]} is not allowed here: {tried.stderr.strip()[-200:]}")


@pytest.fixture
def out():
    """Where everybody may write, and that everybody reaches, which a `tmp_path` below pytest's own folder is not."""
    with tempfile.TemporaryDirectory(prefix="medslip_out_") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def stranger() -> list[str]:
    need(OTHER_UID)
    return OTHER_UID


@pytest.fixture
def read_only(out) -> list[str]:
    """For the stranger, with one folder to write to."""
    prefix = [*READ_ONLY, str(out), *OTHER_UID]
    need(prefix)
    return prefix


VERBS = """
import sys
from medslip_jax.cli import main as cli
for line in sys.stdin.read().splitlines():
    code = cli.main(line.split("|"))
    if code:
        sys.exit(f"{line}: {code}")
"""


@pytest.mark.slow
def test_verbs_without_a_home_directory_and_an_entry(stranger, phantom_data, out):
    """In one process, for time's sake; nothing but the results, the cache and progress is seen of it."""
    run_dir, checkpoint = out / "run", f"--checkpoint={out / 'run'}"
    lines = [
        ["data", "show", str(phantom_data / "phantom"), f"--out={out / 'data.html'}"],
        ["pretrain", f"--config={ROOT}/configs/phantom.py:tiny", f"--workdir={run_dir}"],
        ["evaluate", checkpoint, f"--out={run_dir / 'zero_shot'}", "--resamples=5"],
        ["report", str(run_dir)],
        ["convert", f"--from={run_dir}", f"--to={out / 'm'}"],
        ["completion", "bash"],
    ]
    lines[1] += [f"--config.data.dir={phantom_data}", *TINY, "--config.num_steps=2", "--config.model.streams=pathology"]
    done = subprocess.run(
        [*stranger, sys.executable, "-c", VERBS],
        input="\n".join("|".join(line) for line in lines),
        env=environment(TMPDIR=str(out)),
        cwd=out,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = [
        line
        for line in done.stderr.replace("\r", "\n").splitlines()
        if line and "/step" not in line and "step/s" not in line
    ]
    assert said == []
    cache = out / f"medslip_jax-{UID}" / ".cache" / "medslip_jax" / "xla"
    assert any(cache.rglob("jit_*"))
    left = {file.name for file in out.iterdir()}
    assert left == {"run", "data.html", "m", f"medslip_jax-{UID}"}


def test_doctor_says_where_the_cache_went(stranger, out):
    found = json.loads(run(stranger, "doctor", "--json", TMPDIR=str(out)).stdout)
    assert found["ok"], found["problems"]
    assert found["compilation cache"]["path"].startswith(str(out / f"medslip_jax-{UID}"))
    assert found["compilation cache"]["why there"] == "there is no home directory, or it cannot be written"
    assert "MiB free (/dev/shm)" in found["machine"]["shared memory"]


def test_a_read_only_disk(read_only, out):
    """Without a folder for temporary files it is one line; with one, all goes on."""
    if ran([*read_only, sys.executable, "-c", "import tempfile; tempfile.gettempdir()"]).returncode == 0:
        pytest.skip("/tmp, /var/tmp or /usr/tmp is a disk of its own here, and stays writable")
    argv = ["data", "build", "phantom", f"--out={out}", "--train=8", "--validation=4", "--test=4", "--workers=1"]
    refused = run(read_only, *argv)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "no folder for temporary files can be written" in refused.stderr and "--tmpfs /tmp" in refused.stderr
    doctor = json.loads(run(read_only, "doctor", "--json").stdout)
    assert home.NO_TEMPORARY in [problem["what"] for problem in doctor["problems"]]
    built = run(read_only, *argv, TMPDIR=str(out))
    assert (built.returncode, built.stderr) == (0, "")


def test_a_home_directory_that_cannot_be_written(read_only, out):
    found = json.loads(run(read_only, "doctor", "--json", HOME="/", TMPDIR=str(out)).stdout)
    assert found["ok"], found["problems"]
    assert found["compilation cache"]["path"].startswith(str(out / f"medslip_jax-{UID}"))


@pytest.mark.parametrize(
    "shell",
    [
        {"LC_ALL": "C", "LANG": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=["C", "ascii", "ascii terminal"],
)
def test_a_path_with_blanks_and_umlauts_in_any_locale(shell, tmp_path):
    """And TMPDIR that is missing."""
    data = tmp_path / "Röntgen bilder ß"
    flags = ["--train=8", "--validation=4", "--test=4", "--workers=2"]
    built = run([], "data", "build", "phantom", "--out", str(data), *flags, **shell, TMPDIR=str(tmp_path / "none"))
    assert (built.returncode, built.stderr) == (0, "")
    assert (data / "phantom").is_dir()
    shown = run([], "data", "show", str(data / "phantom"), **shell)
    name = "R\\xf6ntgen bilder \\xdf" if "PYTHONIOENCODING" in shell else data.name
    assert (shown.returncode, shown.stderr) == (0, "")
    assert name in shown.stdout


def test_home_is_made_up_only_where_nobody_knows_one(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("MPLCONFIGDIR", "theirs")
    home.prepare()
    assert os.environ["HOME"] == str(tmp_path / "mine") and list(tmp_path.iterdir()) == []

    monkeypatch.delenv("HOME")
    # What it gives where the account has no entry.
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.environ.get("HOME", path))
    home.prepare()
    assert os.environ["HOME"] == str(tmp_path / f"medslip_jax-{os.getuid()}")
    assert os.environ["MPLCONFIGDIR"] == "theirs"


def test_a_private_folder_is_nobody_elses(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = home.private_folder()
    assert folder == tmp_path / f"medslip_jax-{os.getuid()}" and folder.stat().st_mode & 0o777 == 0o700
    assert home.private_folder() == folder
    folder.chmod(0o770)
    assert home.private_folder() is None
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert home.private_folder() is None


def test_without_any_place_there_is_no_cache(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(home, "private_folder", lambda: None)
    monkeypatch.delenv(compilation_cache.VARIABLE, raising=False)
    compilation_cache.enable()
    assert os.environ[compilation_cache.VARIABLE] == "" and compilation_cache.directory() is None


def test_a_run_without_semaphores_has_its_numbers(monkeypatch, tmp_path, capsys):
    """As where /dev/shm is missing."""

    def missing(size):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("multiprocessing.Queue", missing)
    written = writers.Writers(tmp_path, num_steps=1)
    written.write(1, {"loss": 2.0})
    written.close()
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert "note: no TensorBoard files, which need /dev/shm (No such file or directory)" in capsys.readouterr().err
