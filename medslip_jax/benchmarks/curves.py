"""How costs grow: a step of the paper's model with batch, image size and devices, the loader with its workers.

Times of this machine's CPU. Fake devices share its cores, so their curve shows what partitioning a step costs; what
more chips cost is read from compiled programs (`medslip compile`), not from a clock.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np

from medslip_jax.benchmarks.loader import bench_workers
from medslip_jax.benchmarks.other_process import other_process
from medslip_jax.benchmarks.step import jax_step
from medslip_jax.benchmarks.timing import in_turns, machine
from medslip_jax.testing import synthetic_batch, tiny_books

BATCHES, SIZES = (2, 4, 8, 16), (112, 160, 224, 320, 448)
DEVICES, IMAGES_A_DEVICE = (1, 2, 4, 8), 2
WORKERS = (1, 2, 3, 4)


def bench_curves(*, rounds: int = 3) -> dict:
    """Medians of `rounds`, all points of a curve in turns; each curve with the line through it (`line`).

    Returns:
      "batch": seconds of a step at 224 px by batch; "image_size": of 4 images by side, the line against pixels;
      "memory_gb": XLA's peak of the step's program by batch; "devices": seconds of a step on so many fake devices with
      2 images each; "workers": the loader's images a second by worker processes.
    """
    batches, sizes, memory = _batches_and_sizes(rounds)
    devices = _devices(rounds)
    rates = bench_workers(WORKERS)
    return {
        "batch": {"seconds": batches, **line(list(batches), list(batches.values()))},
        "image_size": {"seconds": sizes, **line([side**2 for side in sizes], list(sizes.values()))},
        "memory_gb": {"peak": memory, **line(list(memory), list(memory.values()))},
        "devices": {"seconds": devices, **line(list(devices), list(devices.values()))},
        "workers": {"images_per_second": rates, **line(list(rates), list(rates.values()))},
        **machine(),
    }


def _batches_and_sizes(rounds: int) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    books = tiny_books(768)
    batch = {n: jax_step(books, synthetic_batch(n, image_size=224), dtype="float32") for n in BATCHES}
    sizes = {side: jax_step(books, synthetic_batch(4, image_size=side), dtype="float32") for side in SIZES}
    return (
        _medians({n: made["run"] for n, made in batch.items()}, rounds),
        _medians({side: made["run"] for side, made in sizes.items()}, rounds),
        {n: made["peak"] / 1e9 for n, made in batch.items()},
    )


def _devices(rounds: int) -> dict[int, float]:
    with contextlib.ExitStack() as stack:
        steps = {n: other_process(functools.partial(_step_on_devices, n)) for n in DEVICES}
        return _medians({n: stack.enter_context(step) for n, step in steps.items()}, rounds)


def _step_on_devices(count: int) -> Callable[[], None]:
    jax.config.update("jax_num_cpu_devices", count)
    images = synthetic_batch(count * IMAGES_A_DEVICE, image_size=224)
    return jax_step(tiny_books(768), images, dtype="float32")["run"]


def _medians(runs: Mapping[int, Callable[[], object]], rounds: int) -> dict[int, float]:
    return {key: times["seconds_median"] for key, times in in_turns(runs, rounds=rounds).items()}


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
