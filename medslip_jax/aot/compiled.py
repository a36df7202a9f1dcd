"""What a compiled step says of itself, and what follows from that: does it fit, and how fast can it be."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from medslip_jax.aot.collectives import count_collectives
from medslip_jax.aot.hbm_traffic import hbm_bytes
from medslip_jax.parallel.chips import Chip

GIB = 2**30
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)"
# Two places of the TPU compiler give up on a program, and say it differently.
_TOO_LARGE = (
    re.compile(rf"Used {_SIZE} of {_SIZE} hbm"),
    re.compile(rf"required for HLO temporaries \({_SIZE}\) exceeds available HBM \({_SIZE}\)"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try to compile the step at a batch size.

    Attributes:
      per_chip: images a chip.
      seconds: {"lower", "compile"}.
      program: of `read_program`; None if there is none.
      needs: bytes of memory a chip; None if nothing says so.
      limit: bytes that a program may have.
      error: what the compiler said, one line; "" if it compiled.
    """

    per_chip: int
    seconds: Mapping[str, float]
    limit: float
    program: Mapping[str, Any] | None = None
    needs: float | None = None
    error: str = ""

    @property
    def fits(self) -> bool:
        return self.program is not None and (self.needs is None or self.needs <= self.limit)

    @property
    def too_large(self) -> bool:
        """The memory is what is wrong with it."""
        return self.needs is not None and self.needs > self.limit


def read_program(compiled) -> dict[str, dict]:
    """{"cost", "traffic", "memory", "collectives"} of a `jax.stages.Compiled`; without one, {"unavailable": why}.

    Each is asked for on its own, as XLA fails on one of them for some programs that it has compiled.
    """
    return {
        "cost": _if_possible(lambda: read_cost(compiled.cost_analysis())),
        "traffic": _if_possible(lambda: {"hbm": hbm_bytes(compiled.as_text())}),
        "memory": _if_possible(lambda: read_memory(compiled.memory_analysis())),
        "collectives": _if_possible(lambda: count_collectives(compiled.as_text())),
    }


def _if_possible(read: Callable[[], dict]) -> dict:
    try:
        return read()
    # Whatever XLA raises: the other parts are still worth a table.
    except Exception as error:
        return {"unavailable": one_line(error)}


def read_cost(cost: Mapping[str, float]) -> dict[str, float]:
    """{"flops", "bytes"} of one chip and step. XLA's own estimate of the time is left out: it is negative at times."""
    return {"flops": float(cost["flops"]), "bytes": float(cost["bytes accessed"])}


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


def roofline(cost: Mapping[str, float], *, chip: Chip, batch_size: int) -> dict[str, Any]:
    """Images/s by counts and peaks: batch_size / max(FLOPs / peak, bytes / bandwidth), per chip and step.

    Nearly a bound: XLA's bytes are those of all operands, also of arrays that stay in the chip's own memory.

    Args:
      cost: of `read_cost`.
      chip: its peaks.
      batch_size: images of a step over all chips.

    Returns:
      {"compute_seconds", "memory_seconds", "bound_by": "compute" or "memory", "images_per_second"}.
    """
    compute, memory = cost["flops"] / chip.peak_flops, cost["bytes"] / chip.hbm_bytes
    slowest = max(compute, memory)
    return {
        "compute_seconds": compute,
        "memory_seconds": memory,
        "bound_by": "compute" if compute >= memory else "memory",
        "images_per_second": batch_size / slowest if slowest > 0 else math.inf,
    }


def one_line(error: Exception | str, *, width: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= width else text[: width - 3] + "..."
