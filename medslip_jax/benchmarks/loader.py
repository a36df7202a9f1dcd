"""How fast the training loader is on this machine, and where its time goes.

A benchmark, not a test: the rate that counts is processor time, as the clock of a shared machine says little.
"""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import cv2
import jax
import numpy as np
import psutil
from jax.sharding import Mesh

from data_pipelines import images
from data_pipelines.datasets import open_split
from data_pipelines.loading import Loader, augment
from data_pipelines.records import Source
from medslip_jax.parallel.sharding import put_batch

_PHANTOMS = 128


def bench_loader(
    source: Source | None = None,
    *,
    image_size: int = 224,
    batches: int = 16,
    repeats: int = 5,
    workers: int = 2,
) -> dict:
    """Images a second of one core with the released augmentation: decode, crop, flip, RandAugment, batch.

    Args:
      source: a built split; by default phantoms of 256 pixels, built for the occasion.
      image_size: side of what comes out.
      batches: of 64 images, a measurement.
      repeats: measurements, of which the median is given.
      workers: processes of the second measurement, by the clock.

    Returns:
      "images_per_second_per_core": median over `repeats`, images by processor seconds of this process with workers=0
      and its lowest and highest; "stages_us": microseconds an image of reading, decoding, cropping and the rest;
      "workers": {"count", "images_per_second", "memory_mb": of all of them together}.
    """
    with contextlib.ExitStack() as stack:
        source = source or stack.enter_context(_phantoms())
        options = _options(image_size)
        rates = [_core_rate(source, options, batches) for _ in range(repeats)]
        return {
            "images_per_second_per_core": statistics.median(rates),
            "lowest": min(rates),
            "highest": max(rates),
            "stages_us": _stages(source, image_size),
            "workers": _worker_rate(source, options, batches, workers),
            "opencv": cv2.__version__,
            "cores": os.cpu_count(),
        }


def bench_workers(counts: Sequence[int], *, image_size: int = 224, batches: int = 16) -> dict[int, float]:
    """Images a second by the clock, on phantoms, with so many worker processes of one thread each.

    Args:
      counts: of workers, one measurement each.
      image_size: side of what comes out.
      batches: of 64 images, a measurement.
    """
    with _phantoms() as source:
        options = _options(image_size)
        return {n: _worker_rate(source, options, batches, n)["images_per_second"] for n in counts}


def bench_to_device(mesh: Mesh, *, image_size: int, batches: int, workers: int) -> dict:
    """Images a second by the clock from phantoms' files, decoded and augmented, to the device's memory.

    Args:
      mesh: where they go.
      image_size: side of what arrives.
      batches: of 64 images.
      workers: processes that read; 0 reads in threads of this one.
    """
    with _phantoms() as source:
        loader = Loader(source, **_options(image_size), workers=workers, threads=1)
        try:
            jax.block_until_ready([put_batch(mesh, next(loader)) for _ in range(max(1, 2 * workers))])
            start = time.perf_counter()
            for _ in range(batches):
                placed = put_batch(mesh, next(loader))
            jax.block_until_ready(placed)
            seconds = time.perf_counter() - start
        finally:
            loader.close()
    return {"images_per_second": 64 * batches / seconds, "workers": workers}


def _options(image_size: int) -> dict:
    return {"batch_size": 64, "image_size": image_size, "train": True, "augment": augment.AugmentConfig()}


def _core_rate(source: Source, options: dict, batches: int) -> float:
    return _measured(source, options, batches, workers=0, clock=time.process_time)["images_per_second"]


def _worker_rate(source: Source, options: dict, batches: int, workers: int) -> dict:
    return {"count": workers, **_measured(source, options, batches, workers=workers, clock=time.perf_counter)}


def _measured(source: Source, options: dict, batches: int, *, workers: int, clock: Callable[[], float]) -> dict:
    """{"images_per_second" by the clock, "memory_mb" of the worker processes}."""
    before = set(psutil.Process().children())
    loader = Loader(source, **options, workers=workers, threads=1)
    for _ in range(max(1, 2 * workers)):
        next(loader)
    start = clock()
    for _ in range(batches):
        next(loader)
    rate = batches * options["batch_size"] / (clock() - start)
    # Pages shared with other processes count by their share (Linux).
    memory = sum(child.memory_full_info().pss for child in {*psutil.Process().children()} - before) / 2**20
    loader.close()
    return {"images_per_second": rate, "memory_mb": memory}


def _stages(source: Source, image_size: int) -> dict[str, float]:
    """Microseconds of processor time an image, each stage on its own over the same records."""
    count = min(len(source), 256)
    kept = [source[i] for i in range(count)]
    grey = [images.decode_grey(record["image"], name="bench") for record in kept]

    def change(by: Callable, **options) -> None:
        rng = np.random.default_rng(0)
        for record, image in zip(kept, grey, strict=True):
            by({"image": image, "matrix": record["matrix"]}, rng=rng, size=image_size, **options)

    cropping = _microseconds(lambda: change(augment.random_resized_crop), count)
    everything = _microseconds(lambda: change(augment.augment, config=augment.AugmentConfig()), count)
    return {
        "read record": _microseconds(lambda: [source[i] for i in range(count)], count),
        "decode JPEG": _microseconds(lambda: [images.decode_grey(r["image"], name="bench") for r in kept], count),
        "random resized crop": cropping,
        "flip and RandAugment": everything - cropping,
    }


def _microseconds(work: Callable[[], object], count: int, repeats: int = 3) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best / count * 1e6


@contextlib.contextmanager
def _phantoms() -> Iterator[Source]:
    from data_pipelines.datasets import PhantomOptions, build

    with tempfile.TemporaryDirectory(prefix="medslip_bench_") as directory:
        options = PhantomOptions(train=_PHANTOMS, validation=1, test=1)
        build("phantom", out=directory, options=options, workers=1)
        yield open_split(directory, "phantom", "train")
