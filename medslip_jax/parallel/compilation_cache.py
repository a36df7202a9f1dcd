"""JAX's persistent compilation cache, on by default: a program compiled once on this machine starts at once."""

import hashlib
import os
import platform
from pathlib import Path

from medslip_jax.storage import home

VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def enable() -> None:
    """Sets JAX_COMPILATION_CACHE_DIR, which JAX reads when it is imported, unless it is set.

    `JAX_COMPILATION_CACHE_DIR=` (empty) switches the cache off. What lies there depends on JAX's version, the devices
    and the program, all of which JAX puts into its keys.
    """
    os.environ.setdefault(VARIABLE, str(directory() or ""))


def directory() -> Path | None:
    """XDG_CACHE_HOME/medslip_jax/xla/MACHINE, ~/.cache by default, below TMPDIR where that cannot be written; or None.

    MACHINE names the processor: programs for CPUs hold its own instructions, and a home directory may be shared by
    different machines.
    """
    base = home.cache_folder()
    machine = f"{platform.machine()}-{hashlib.sha256(_processor()).hexdigest()[:12]}"
    return base and base / "medslip_jax" / "xla" / machine


def _processor() -> bytes:
    """The instructions that this processor has, where the system says so (Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return b" ".join(sorted({line for line in lines if line.startswith((b"flags", b"Features", b"model name"))}))
