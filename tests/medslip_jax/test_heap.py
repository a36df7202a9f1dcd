"""Freed memory stays with the process, unless somebody has chosen otherwise; counted by the system's page faults."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a C library without mallopt")

# 100 MB written and freed by a thread that is not the main one, as XLA's are not; pages have 4 KB.
PROGRAM = """
import resource, threading
import numpy as np
from medslip_jax.heap import keep_freed_memory

done = keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(100_000_000, np.uint8).fill(1)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
found = []
thread = threading.Thread(target=lambda: [faults() for _ in range(3)])
thread.start()
thread.join()
print(done, *found)
"""
CHOSEN = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def run(**environment: str) -> tuple[str, list[int]]:
    kept = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**kept, **environment}, capture_output=True, text=True, check=True
    )
    answer, *faults = done.stdout.split()
    return answer, [int(n) for n in faults]


def test_the_second_time_no_page_is_new():
    answer, (_, *later) = run(JAX_PLATFORMS="cpu")
    assert answer == "True"
    assert max(later) < 100


@pytest.mark.parametrize("choice", [{"MALLOC_ARENA_MAX": "8"}, {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}])
def test_a_choice_is_respected(choice):
    answer, _ = run(JAX_PLATFORMS="cpu", **choice)
    assert answer == "False"


def test_an_accelerator_is_left_alone(monkeypatch, tmp_path):
    from medslip_jax import heap

    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(heap, "_ACCELERATORS", ("null",))
    monkeypatch.delenv("JAX_PLATFORMS")
    assert not heap.keep_freed_memory()
