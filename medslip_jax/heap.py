"""The C library's heap in a process that computes on CPUs: memory that a step has freed is kept for the next step.

XLA allocates a step's temporary memory anew each time. By default glibc gives so large a piece back to the system at
once, and the system clears each of its pages before the next step may touch it: a quarter of the time of a step
(docs/speed.md).
"""

import ctypes
import os
import platform
from pathlib import Path

# Of glibc's malloc.h; mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
# Somebody's own settings. (Another allocator, preloaded, does not read ours.)
_CHOICES = ("MALLOC_", "GLIBC_TUNABLES")
_ACCELERATORS = ("nvidia[0-9]*", "kfd", "accel[0-9]*", "vfio/[0-9]*")


def keep_freed_memory() -> bool:
    """Sets one arena, no mapped pieces and no trimming, as MALLOC_ARENA_MAX=1, MALLOC_MMAP_MAX_=0 and
    MALLOC_TRIM_THRESHOLD_=-1 would; other threads must not have been started yet.

    Left alone: any C library but glibc, a machine with an accelerator (unless JAX_PLATFORMS is "cpu"), and an
    environment that has settings of glibc's heap (MALLOC_*, GLIBC_TUNABLES).

    Returns:
      whether it was done.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(_CHOICES) for name in os.environ):
        return False
    if os.environ.get("JAX_PLATFORMS") != "cpu" and any(next(Path("/dev").glob(p), None) for p in _ACCELERATORS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The arenas of other threads are mapped pieces of 64 MB: what is larger would never come from a heap that is kept.
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])
