"""What a compiled step says of itself, and what follows: does it fit, how many images would, how fast can it be."""

import math
import re
from collections.abc import Callable
from typing import Any

from medslip_jax.aot.collectives import count_collectives
from medslip_jax.aot.hbm_traffic import hbm_bytes
from medslip_jax.aot.layout_copies import count_layout_copies
from medslip_jax.parallel.chips import Chip
from medslip_jax.parallel.flops import step_flops

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)"
# Two places of the TPU compiler give up on a program, and say it differently.
_TOO_LARGE = (
    re.compile(rf"Used {_SIZE} of {_SIZE} hbm"),
    re.compile(rf"required for HLO temporaries \({_SIZE}\) exceeds available HBM \({_SIZE}\)"),
)


def largest_batch(per_chip: int, *, needs: float, limit: float, multiple: int = 1) -> int | None:
    """About how many images a chip fit into `limit` bytes, in proportion to what `per_chip` need; None if not one.

    An estimate: parameters do not grow with the batch, and XLA saves memory where it is short of it. A multiple of
    `multiple`, and of 8 where that leaves any: the rows of a TPU's tile.

    >>> largest_batch(512, needs=200, limit=150)
    384
    """
    images = math.floor(per_chip * limit / needs)
    step = math.lcm(8, multiple)
    return images - images % (step if images >= step else multiple) or None


def read_program(compiled, *, layout: bool = False) -> dict[str, dict]:
    """{"cost", "traffic", "memory", "collectives"} of a `jax.stages.Compiled`; without one, {"unavailable": why}.

    Each is asked for on its own, as XLA fails on one of them for some programs that it has compiled. Its estimate of
    the time is left out, which is negative at times, and so is its "bytes accessed" (see `hbm_traffic`).

    Args:
      compiled: a program.
      layout: also "layout", of `count_layout_copies`, as calls of cuDNN make them.
    """
    readers: dict[str, Callable[[], dict]] = {
        "cost": lambda: {"flops": step_flops(compiled)},
        "traffic": lambda: {"hbm": hbm_bytes(compiled.as_text())},
        "memory": lambda: read_memory(compiled.memory_analysis()),
        "collectives": lambda: count_collectives(compiled.as_text()),
    }
    if layout:
        readers["layout"] = lambda: count_layout_copies(compiled.as_text())
    return {part: _if_possible(read) for part, read in readers.items()}


def _if_possible(read: Callable[[], dict]) -> dict:
    try:
        return read()
    # Whatever XLA raises: the other parts are still worth a table.
    except Exception as error:
        return {"unavailable": one_line(error)}


def read_memory(stats) -> dict[str, int]:
    """Bytes of one chip by purpose, their "total", and what XLA calls the peak, which leaves out the program's code.

    "alias": results that take the place of arguments, counted once.
    """
    parts = {
        "arguments": stats.argument_size_in_bytes,
        "results": stats.output_size_in_bytes,
        "alias": stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "program": stats.generated_code_size_in_bytes,
    }
    return parts | {"total": sum(parts.values()) - 2 * parts["alias"], "xla_peak": stats.peak_memory_in_bytes}


def parse_too_large(message: str) -> dict[str, float] | None:
    """{"needs", "limit"} in bytes from XLA's RESOURCE_EXHAUSTED message; None if it does not say.

    >>> parse_too_large("RESOURCE_EXHAUSTED: ... Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.")
    {'needs': 22011707392.0, 'limit': 16911433728.0}
    """
    for pattern in _TOO_LARGE:
        match = pattern.search(message)
        if match:
            needs, needs_unit, limit, limit_unit = match.groups()
            return {"needs": float(needs) * _UNITS[needs_unit], "limit": float(limit) * _UNITS[limit_unit]}
    return None


def roofline(flops: float, *, hbm: float, chip: Chip, per_chip: int) -> dict[str, Any]:
    """What a chip can do at best: per_chip / max(FLOPs / peak FLOP/s, HBM bytes / bandwidth).

    Args:
      flops: of one chip and step.
      hbm: bytes from and to its memory in that step.
      chip: its peaks.
      per_chip: images of that step.

    Returns:
      {"compute_seconds", "memory_seconds", "bound_by": "compute" or "memory", "images_per_second": of one chip}.
    """
    compute, memory = flops / chip.peak_flops, hbm / chip.hbm_bytes
    slowest = max(compute, memory)
    return {
        "compute_seconds": compute,
        "memory_seconds": memory,
        "bound_by": "compute" if compute >= memory else "memory",
        "images_per_second": per_chip / slowest if slowest > 0 else math.inf,
    }


def one_line(error: Exception | str, *, width: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= width else text[: width - 3] + "..."
