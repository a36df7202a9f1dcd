"""How the cost of the paper's model grows: a step against batch and image size, and the loader against its workers.

Times of this machine's CPU. Fake devices share the same cores, so what more chips cost is read from compiled programs
(`medslip compile`), not from a clock.
"""

import jax
import numpy as np

from medslip_jax.benchmarks.step import jax_step
from medslip_jax.benchmarks.timing import in_turns, machine
from medslip_jax.testing import synthetic_batch, tiny_books

BATCHES, SIZES = (2, 4, 8, 16), (112, 160, 224, 320, 448)


def bench_curves(*, rounds: int = 3) -> dict:
    """Medians of `rounds`, all points of a curve in turns.

    Returns:
      "batch": seconds a step at 224 px by batch, and their line; "image_size": seconds a step of 4 images by side, and
      the line through them against pixels; "memory_gb": XLA's peak of the step's program by batch, and its line.
    """
    books = tiny_books(768)
    batch = {n: _step(books, batch=n, side=224) for n in BATCHES}
    sizes = {side: _step(books, batch=4, side=side) for side in SIZES}
    by_batch = _medians({n: made["run"] for n, made in batch.items()}, rounds=rounds)
    by_size = _medians({side: made["run"] for side, made in sizes.items()}, rounds=rounds)
    memory = {n: made["peak"] / 1e9 for n, made in batch.items()}
    return {
        "batch": {"seconds": by_batch, **line(list(by_batch), list(by_batch.values()))},
        "image_size": {"seconds": by_size, **line([side**2 for side in by_size], list(by_size.values()))},
        "memory_gb": {"peak": memory, **line(list(memory), list(memory.values()))},
        **machine(),
    }


def _step(books, *, batch: int, side: int) -> dict:
    return jax_step(books, synthetic_batch(batch, image_size=side), dtype="float32")


def _medians(runs: dict, *, rounds: int) -> dict[int, float]:
    found = in_turns(runs, rounds=rounds)
    jax.clear_caches()
    return {key: value["seconds_median"] for key, value in found.items()}


def line(x: list[float], y: list[float]) -> dict[str, float]:
    """Least squares: y = slope x + intercept, and the largest distance from it as a share of y.

    >>> {key: round(value, 6) for key, value in line([1, 2, 3], [3.0, 5.0, 7.0]).items()}
    {'slope': 2.0, 'intercept': 1.0, 'worst_miss': 0.0}
    """
    slope, intercept = np.polyfit(x, y, 1)
    fitted = slope * np.asarray(x) + intercept
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "worst_miss": float(np.max(np.abs(fitted - y) / np.asarray(y))),
    }
