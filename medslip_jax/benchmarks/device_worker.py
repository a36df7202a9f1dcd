"""The other side of `medslip bench device`: a process that has the device to itself and does its parts in turn."""

import gc
import time
from multiprocessing.connection import Connection

from data_pipelines.loading import begin_worker
from medslip_jax.aot.compiled import one_line
from medslip_jax.benchmarks.device_sizes import SIZES, Part

# With more than one library to measure, what the first may take of the time that is left.
JAX_SHARE = 0.6


def work(to_parent: Connection, library: str, size: str, ends: float, shares: str) -> None:
    """Sends {"described", "parts", "ends"}, then a row for each part, until the time is up.

    Args:
      to_parent: what is sent goes here.
      library: "jax" or "pytorch".
      size: a name of `SIZES`.
      ends: when all has to be done, by `time.time`.
      shares: "shared" if another library follows on the same device, else "alone".
    """
    begin_worker()
    try:
        parts = _parts_of(library, size)
    # A driver, a library or a device that does not work: whatever it raises is what the table says.
    except Exception as error:
        to_parent.send({"described": {"platform": "none", "why": one_line(error)}, "parts": [], "ends": ends})
        return
    described = parts.described()
    if shares == "shared" and described["platform"] == "gpu":
        ends = time.time() + JAX_SHARE * (ends - time.time())
    to_parent.send({"described": described, "parts": parts.parts, "ends": ends})
    took: dict[str, float] = {}
    for part in parts.parts:
        to_parent.send(_row(parts, part, left=ends - time.time(), took=took))
        gc.collect()


def _parts_of(library: str, size: str):
    if library == "jax":
        from medslip_jax.benchmarks.device_parts import JaxParts

        return JaxParts(SIZES[size])
    from medslip_jax.benchmarks.torch_device import TorchParts

    return TorchParts(SIZES[size])


def _row(parts, part: Part, *, left: float, took: dict[str, float]) -> dict:
    """The part's row; `took`: seconds of the last part of each kind, without which it would not be known what fits."""
    expected = took.get(part.kind, 0.0)
    if left < expected:
        return part.row("left out", why=f"{left:.0f} s were left, and the last {part.kind} took {expected:.0f} s")
    start = time.monotonic()
    try:
        return parts.measure(part)
    # Out of memory, an operation that the device does not have: a row that says so, and the next part.
    except Exception as error:
        return part.row("failed", why=one_line(f"{type(error).__name__}: {error}", width=200))
    finally:
        took[part.kind] = time.monotonic() - start
