"""`medslip bench device`: is the device right, how fast is it, and how fast is PyTorch on it, within a given time.

JAX and then PyTorch have the device to themselves, each in a process of its own that is ended when its time is up.
"""

import contextlib
import importlib.util
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

from medslip_jax.benchmarks.device_sizes import SIZES
from medslip_jax.benchmarks.device_worker import work
from medslip_jax.benchmarks.timing import machine

# For ending processes and writing the result.
_RESERVE = 3.0
Row = dict[str, Any]


def bench_device(
    *, seconds: float = 300.0, size: str = "paper", tell: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Golden parity, train step and inference in bf16 and fp32 at three batch sizes, loader, memory; beside PyTorch.

    Args:
      seconds: after which it ends; parts that do not fit are left out, the last ones first.
      size: a name of `SIZES`; "tiny" tries the command, and its rates mean nothing.
      tell: called with a line for each part that is done.

    Returns:
      {"jax": {"device", "rows"}, "pytorch": the same, "size", "image_size", "seconds", "seconds_allowed", "machine"}.
      A row has "part", "kind", "precision", "batch", "status" ("ok", "failed", "left out"), and its numbers
      or "why" it has none.
    """
    begin = time.time()
    ends = begin + seconds - min(_RESERVE, seconds / 4)
    torch = importlib.util.find_spec("torch") is not None
    found = {"jax": _measured("jax", size=size, ends=ends, shares="shared" if torch else "alone", tell=tell)}
    platform = found["jax"]["device"]["platform"]
    if not torch:
        found["pytorch"] = _nothing("PyTorch is not installed")
    elif platform != "gpu":
        found["pytorch"] = _nothing(f"PyTorch is compared on GPUs, and JAX computes on {platform}")
    else:
        found["pytorch"] = _measured("pytorch", size=size, ends=ends, shares="alone", tell=tell)
    sizes = {"size": size, "image_size": SIZES[size].image_size}
    return {**found, **sizes, "machine": machine(), "seconds": time.time() - begin, "seconds_allowed": seconds}


def _measured(library: str, *, size: str, ends: float, shares: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """{"device": what computed, "rows"} of one library."""
    if ends <= time.time():
        return _nothing("the time was up")
    rows: list[Row] = []
    with _worker(library, size, ends, shares) as receive:
        plan = receive(ends)
        if isinstance(plan, str):
            return _nothing(plan)
        for _ in plan["parts"]:
            row = receive(plan["ends"])
            if isinstance(row, str):
                rows += [missing.row("left out", why=row) for missing in plan["parts"][len(rows) :]]
                break
            rows.append(row)
            tell(f"{library}: {row['part']}: {row['status']}")
    return {"device": plan["described"], "rows": rows}


def _nothing(why: str) -> dict[str, Any]:
    """Of a library that has measured nothing."""
    return {"device": {"platform": "none", "why": why}, "rows": []}


@contextlib.contextmanager
def _worker(library: str, size: str, ends: float, shares: str) -> Iterator[Callable[[float], Any]]:
    """What is entered gives the next message of a process that does the parts, or why none comes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(there, library, size, ends, shares))

    def receive(until: float) -> Any:
        try:
            return here.recv() if here.poll(max(0.0, until - time.time())) else "not done when the time was up"
        except EOFError:
            process.join()
            return f"the process ended with exit code {process.exitcode}"

    process.start()
    there.close()
    try:
        yield receive
    finally:
        process.join(1.0)
        process.kill()
        process.join()
        here.close()
