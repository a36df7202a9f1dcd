"""Large arrays in huge pages, for steps on a CPU.

XLA asks the C library for a step's memory and gives it back after the step, so every step meets half a million new
pages of 4 KiB (measured: docs/speed.md). glibc takes huge pages if it is told so when a process starts; a command that
will compute on a CPU therefore starts itself once more with that setting, before anything else is loaded.
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
_SETTING = "glibc.malloc.hugetlb=1"
# Set to 0 to leave the allocator alone.
SWITCH = "MEDSLIP_HUGE_PAGES"
_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart(argv: list[str]) -> None:
    """Replaces this process by the same command with huge pages, if that helps it; else returns."""
    if wanted(os.environ):
        sys.stdout.flush()
        command = [sys.executable, "-m", "medslip_jax.cli", *argv]
        os.execve(sys.executable, command, os.environ | {VARIABLE: _SETTING})


def wanted(environment: Mapping[str, str]) -> bool:
    """glibc, a kernel that gives huge pages to who asks, nothing set by the user, and no accelerator.

    Args:
      environment: of the process.
    """
    if environment.get(SWITCH) == "0" or VARIABLE in environment:
        return False
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or not _on_request():
        return False
    chosen = environment.get("JAX_PLATFORMS", "")
    return chosen == "cpu" or (chosen == "" and not accelerators())


def accelerators() -> bool:
    """Whether the system shows a TPU or a GPU."""
    places = (("accel*", "/dev"), ("nvidia[0-9]*", "/dev"), ("vfio/[0-9]*", "/dev"), ("kfd", "/dev"))
    return any(list(Path(root).glob(pattern)) for pattern, root in places)


def _on_request() -> bool:
    try:
        return "[madvise]" in _ENABLED.read_text()
    except OSError:
        return False
