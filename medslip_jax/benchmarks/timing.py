"""Variants timed in turns, and what a time is worth nothing without: machine, threads, versions."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from data_pipelines.loading import usable_cores
from medslip_jax.doctor.packages import version_of

Name = TypeVar("Name", str, int)
_PACKAGES = ("jax", "jaxlib", "flax", "torch")


def in_turns(variants: Mapping[Name, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[Name, dict]:
    """Seconds of each variant, all of them once a round, so that a slow minute of the machine meets all.

    What is timed follows the same work untimed, as a step follows a step: memory that others have used meanwhile comes
    back from a virtual machine's host page by page (measured: 5.4 s in place of 3.9).

    Args:
      variants: functions that return when their work is done.
      rounds: that count.
      warm_up: rounds before them.

    Returns:
      {variant: {"seconds_median", "seconds_lowest", "seconds_highest", "seconds": all}}.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in variants}
    for turn in range(warm_up + rounds):
        for name, work in variants.items():
            if turn >= warm_up:
                work()
            start = time.perf_counter()
            work()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: summary(values) for name, values in seconds.items()}


def summary(seconds: list[float]) -> dict:
    """Median, lowest, highest and all.

    >>> summary([3.0, 1.0, 2.0])["seconds_median"]
    2.0
    """
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_lowest": min(seconds),
        "seconds_highest": max(seconds),
        "seconds": [round(s, 4) for s in seconds],
    }


def in_a_row(advance: Callable[[], object], *, wait: Callable[[object], object], seconds: float) -> dict:
    """`summary` of what one of many calls costs that follow one another without waiting, as steps of a training do.

    Args:
      advance: starts some work and gives what can be waited for; a device may be behind.
      wait: for the last of them, and so for all.
      seconds: that about three loops of such calls may take together; a loop has 2 to 200 calls.
    """

    def loop(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            last = advance()
        wait(last)
        return (time.perf_counter() - start) / calls

    loop(2)
    calls = int(min(max(seconds / 3 / max(loop(2), 1e-6), 2), 200))
    return summary([loop(calls) for _ in range(3)]) | {"calls": 3 * calls}


def machine() -> dict:
    """Processor, cores that this process may use, load and versions."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version_of(name) for name in _PACKAGES},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
