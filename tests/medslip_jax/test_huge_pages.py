"""Who starts again with huge pages, and that it is the same command."""

import os
import subprocess
import sys

import pytest

from medslip_jax import huge_pages


@pytest.fixture(autouse=True)
def _linux_with_huge_pages(monkeypatch, tmp_path):
    enabled = tmp_path / "enabled"
    enabled.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_ENABLED", enabled)
    monkeypatch.setattr(huge_pages.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(huge_pages.sys, "platform", "linux")
    monkeypatch.setattr(huge_pages, "accelerators", lambda: False)


def test_a_cpu_wants_them():
    assert huge_pages.wanted({})
    assert huge_pages.wanted({"JAX_PLATFORMS": "cpu"})


@pytest.mark.parametrize(
    "environment",
    [{"JAX_PLATFORMS": "tpu"}, {"GLIBC_TUNABLES": "glibc.malloc.check=1"}, {"MEDSLIP_HUGE_PAGES": "0"}],
)
def test_who_does_not(environment):
    assert not huge_pages.wanted(environment)


def test_an_accelerator_does_not_but_the_cpu_beside_it_does(monkeypatch):
    monkeypatch.setattr(huge_pages, "accelerators", lambda: True)
    assert not huge_pages.wanted({})
    assert huge_pages.wanted({"JAX_PLATFORMS": "cpu"})


@pytest.mark.parametrize("text", ["always madvise [never]\n", "[always] madvise never\n"])
def test_a_kernel_that_does_not_ask(monkeypatch, tmp_path, text):
    (tmp_path / "enabled").write_text(text)
    assert not huge_pages.wanted({})


def test_another_system(monkeypatch):
    monkeypatch.setattr(huge_pages.sys, "platform", "darwin")
    assert not huge_pages.wanted({})


def test_the_command_line_is_the_same_and_only_once():
    """A real process; where the machine gives no huge pages it runs without, and says the same."""
    run = [sys.executable, "-m", "medslip_jax.cli", "evaluate", "--checkpoint", "no such place", "--out", "x y"]
    environment = {k: v for k, v in os.environ.items() if k != huge_pages.VARIABLE} | {"JAX_PLATFORMS": "cpu"}
    ended = [
        subprocess.run(run, capture_output=True, text=True, check=False, env=environment | extra)
        for extra in ({}, {huge_pages.SWITCH: "0"})
    ]
    assert ended[0].returncode == ended[1].returncode == 2
    assert ended[0].stderr == ended[1].stderr and "no such place" in ended[0].stderr
