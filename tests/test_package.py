"""The wheel and the source archive: what is in them, and that the installed package needs no repository. No network."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from places import ROOT

from medslip_jax.version import __version__

pytest.importorskip("setuptools", minversion="70.1", reason="needs setuptools 70.1, which builds wheels by itself")
pytestmark = pytest.mark.slow

PACKAGES = ("medslip_jax", "data_pipelines")
_LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "golden", "runs", "data", "*.png"
)


def run(*command, cwd: Path, code: int = 0, **env) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))} | env
    result = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert result.returncode == code, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def wheel_of(source: Path, *, out: Path) -> Path:
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", out, source, cwd=out.parent)
    return out / f"medslip_jax-{__version__}-py3-none-any.whl"


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy, as building writes beside setup.py."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "medslip", ignore=_LEFT_OUT)


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return wheel_of(source, out=tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="module")
def medslip(wheel, tmp_path_factory) -> Path:
    """The command of an environment that has the wheel, and the packages of this one but for the repository."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    python = environment / "bin" / "python"
    flags = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *flags, wheel, cwd=environment)
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment).stdout.strip()
    # After pip, which would find the repository's own installation there and do nothing. A .pth in that folder is not
    # read, so the repository stays out of sight.
    (Path(where) / "base.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return environment / "bin" / "medslip"


def test_the_wheel_holds_the_packages_and_nothing_else(wheel, source):
    files = set(contents(wheel))
    assert files == {str(f.relative_to(source)) for name in PACKAGES for f in (source / name).rglob("*") if f.is_file()}
    assert {"medslip_jax/py.typed", "data_pipelines/py.typed", "medslip_jax/report/page.css"} <= files
    assert {f"medslip_jax/launch/{name}" for name in ("medslip_worker.sh", "slurm_job.sh", "jobset.yaml")} <= files
    assert {f"medslip_jax/assets/{name}" for name in ("vocabulary.json", "books_minilm.npz", "parity.npz")} <= files


def test_the_source_archive_builds_the_same_wheel(source, wheel, tmp_path):
    code = "from setuptools import build_meta; import sys; print(build_meta.build_sdist(sys.argv[1]))"
    archive = tmp_path / run(sys.executable, "-c", code, tmp_path, cwd=source).stdout.split()[-1]
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "setup.py", "pyproject.toml", "configs/phantom.py"} <= names
    assert not any(name.startswith(("tests", "colab")) for name in names)
    assert contents(wheel_of(archive, out=tmp_path / "dist")) == contents(wheel)


def test_the_installed_command_works_anywhere(medslip, tmp_path):
    assert "usage: medslip VERB" in run(medslip, "--help", cwd=tmp_path).stdout
    code = "import medslip_jax, data_pipelines; print(medslip_jax.__file__, data_pipelines.__file__)"
    places = run(medslip.with_name("python"), "-c", code, cwd=tmp_path).stdout.split()
    assert all(place.startswith(str(medslip.parent.parent)) for place in places)


def test_the_doctor_finds_nothing_wrong_with_the_installation(medslip, tmp_path):
    text = run(medslip, "doctor", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")).stdout
    assert text.endswith("nothing is wrong\n")
    assert str(ROOT / "medslip_jax") not in text


@pytest.mark.parametrize(
    "flags",
    [
        ("local", "--processes", "2"),
        ("tpu", "--name", "a", "--zone", "us-west4-a", "--type", "v5litepod-16", "--install", "medslip_jax"),
    ],
    ids=lambda flags: flags[0],
)
def test_launch_needs_no_repository(medslip, tmp_path, flags):
    (tmp_path / "my.py").write_text("from medslip_jax.experiment import default_config as get_config\n")
    command = ("--dry_run", "--", "pretrain", "--config", "my.py", "--workdir", "/mnt/runs/a")
    text = run(medslip, "launch", *flags, *command, cwd=tmp_path).stdout
    assert "pretrain --config my.py" in text
    assert [file.name for file in tmp_path.iterdir()] == ["my.py"]


def test_a_config_of_the_repository_is_asked_for_in_one_clear_line(medslip, tmp_path):
    command = ("pretrain", "--config", "configs/phantom.py", "--workdir", "runs/a")
    said = run(medslip, *command, cwd=tmp_path, code=2).stderr
    assert said == (
        "medslip: --config configs/phantom.py: no such file; configs/ is in the repository and not in the installed "
        "package: copy the file from there\n"
    )
