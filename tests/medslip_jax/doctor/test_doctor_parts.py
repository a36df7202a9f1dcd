"""Each part on its own, with what it looks at replaced."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import types

import pytest
from packaging.requirements import Requirement
from places import ROOT

from medslip_jax.doctor import data, devices, machine, packages


@pytest.fixture
def installed(monkeypatch):
    """Versions by name, "" for a package that is not there."""
    versions = {}

    def version(name, real=importlib.metadata.version):
        if versions.get(name) == "":
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(packages.importlib.metadata, "version", version)
    return versions


def test_a_missing_and_an_old_package(installed):
    installed |= {"optax": "0.2.4", "flax": "", "torch": "1.9"}
    found = {problem.what: problem.next_step for problem in packages.packages().problems}
    assert list(found.values()) == [f"pip install '{name}'" for name in ("flax>=0.12.8", "optax>=0.2.8", "torch>=2.13")]
    assert "flax is not installed" in found
    assert "torch 1.9: medslip_jax[torch] needs >=2.13" in found


def test_an_old_package_of_an_extra_that_nobody_installed(installed):
    """As the old setuptools in a fresh virtual environment, which [dev] would replace."""
    installed |= {"ruff": "0.1", "nbclient": ""}
    assert not packages.packages().problems
    installed["nbclient"] = "1.0"
    assert [problem.what for problem in packages.packages().problems] == ["ruff 0.1: medslip_jax[dev] needs >=0.14"]


def test_a_package_that_was_only_copied(installed):
    installed["medslip_jax"] = ""
    assert "imported but not installed" in packages.packages().problems[0].what


def test_extras_name_the_line_that_installs_them(installed):
    installed |= {"gradio": "", "libtpu": "", "pytest": "9.0"}
    section = packages.extras()
    assert not section.problems, "an extra may be missing"
    assert section.facts["demo"] == "without gradio; pip install 'medslip_jax[demo]'"
    assert section.facts["tpu"] == "without libtpu; pip install 'medslip_jax[tpu]'"
    assert "pytest" in section.facts["dev"]


def test_bounds_are_those_of_setup_py():
    setup = (ROOT / "setup.py").read_text()
    asked = [Requirement(text) for text in re.findall(r'"([\w.-]+(?:\[[\w,]+\])?(?:>=[^"]*)?)"[,\]]', setup)]
    found = packages.requirements()
    assert len(found[""]) > 20 and {"tpu", "cuda", "torch", "dev"} <= found.keys()
    for need in (need for needs in found.values() for need in needs):
        assert any((need.name, need.extras, need.specifier) == (a.name, a.extras, a.specifier) for a in asked), need


def test_memory_is_at_most_what_the_container_may_use(tmp_path, monkeypatch):
    there = types.SimpleNamespace(total=8 * 2**30, available=4 * 2**30)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: there)
    limit = tmp_path / "memory.max"
    assert machine.host_memory(limit) == {"GiB": 8.0, "GiB free": 4.0}
    limit.write_text("max\n")
    assert machine.host_memory(limit) == {"GiB": 8.0, "GiB free": 4.0}
    limit.write_text(f"{2**31}\n")
    assert machine.host_memory(limit) == {"GiB": 2.0, "GiB free": 2.0}


def test_little_memory_and_a_full_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "host_memory", lambda: {"GiB": 8.0, "GiB free": 0.4})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40, 2**20))
    found = machine.machine(data_dir=tmp_path / "not" / "yet")
    assert found.problems[0].what == "only 0.4 GiB of memory are free"
    assert f"{tmp_path}: only 0.00 GiB are free" in [problem.what for problem in found.problems]


@pytest.mark.parametrize(("where", "key"), [("", "switched off"), ("gs://bucket/xla", "in a bucket")])
def test_a_cache_that_cannot_be_looked_at(monkeypatch, where, key):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", where)
    section = machine.cache()
    assert not section.problems and any(key in str(value) for value in section.facts.values())


def test_the_size_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    (tmp_path / "program").write_bytes(bytes(2**20))
    assert machine.cache().facts["content"] == {"files": 1, "MiB": 1.0}


def test_a_damaged_split_is_named_with_the_build_that_replaces_it(phantom_data, tmp_path):
    shutil.copytree(phantom_data, tmp_path / "data")
    [shard] = (tmp_path / "data").glob("phantom/*/*-test.array_record*")
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    section = data.data(tmp_path / "data", asked_for=True)
    [problem] = section.problems
    assert "phantom/" in problem.what and "cannot be read" in problem.what
    assert f"medslip data build phantom --out {tmp_path / 'data'} --overwrite" in problem.next_step


def test_nothing_built_is_wrong_only_where_a_folder_was_named(tmp_path):
    assert not data.data(tmp_path / "none", asked_for=False).problems
    assert not data.data(tmp_path, asked_for=True).problems
    assert data.data(tmp_path / "none", asked_for=True).problems


def test_unreadable_text_tables(monkeypatch):
    monkeypatch.setattr("medslip_jax.text.books.SHIPPED", "nothing.npz")
    [problem] = data.text_tables().problems
    assert "nothing.npz" in problem.what and "pip install" in problem.next_step


def test_a_device_that_does_not_answer(monkeypatch):
    def run(*args, timeout, **kwargs):
        raise subprocess.TimeoutExpired("probe", timeout)

    monkeypatch.setattr(devices.subprocess, "run", run)
    assert "in 0.5 s" in devices.devices(timeout=0.5).problems[0].what


def test_a_crash_without_a_word(monkeypatch):
    ended = subprocess.CompletedProcess([], -4, stdout="", stderr="")
    monkeypatch.setattr(devices.subprocess, "run", lambda *args, **kwargs: ended)
    monkeypatch.delenv("JAX_PLATFORMS")
    [problem] = devices.devices().problems
    assert "it ended with -4" in problem.what and "jaxlib" in problem.next_step


def test_wrong_numbers_and_an_idle_gpu(monkeypatch, tmp_path):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(devices, "_NVIDIA", [tmp_path / "nvidia0"])
    monkeypatch.delenv("JAX_PLATFORMS")
    found = {"platform": "cpu", "devices": {"cpu": 1}, "memory": 0, "sum": 5.0, "product": 512, "seconds": 0.1}
    section = devices.Section("devices")
    devices._tell(section, found)
    assert [p.what for p in section.problems] == [
        "the cpu computes 2 + 2 = 5 and 512 = 512",
        f"{tmp_path / 'nvidia0'} is here, but JAX computes on the CPU",
    ]
    assert section.problems[1].next_step == "pip install 'medslip_jax[cuda]'"


def test_the_probe_tries_every_device():
    code = "from medslip_jax.doctor.devices import probe; print(probe()['devices'])"
    env = {"XLA_FLAGS": "--xla_force_host_platform_device_count=3", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert run.stdout == "{'cpu': 3}\n"
