"""A variant in a process of its own: two libraries in one share threads that spin and memory that comes apart."""

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

from data_pipelines.loading import begin_worker

_work: list[Callable[[], object]] = []  # of the other process, made there


@contextlib.contextmanager
def other_process(make: Callable[..., Callable[[], object]], *args, **kwargs) -> Iterator[Callable[[], None]]:
    """What is entered, called, runs once what `make` has made in the other process, and waits.

    Args:
      make: a function of a module; its arguments follow. What it returns is called there.

    Raises:
      concurrent.futures.process.BrokenProcessPool: the other process has ended.
    """
    made = functools.partial(make, *args, **kwargs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(made,)) as pool:
        pool.submit(int).result()  # made
        yield lambda: pool.submit(_run).result()


def _begin(make: Callable[[], Callable[[], object]]) -> None:
    begin_worker()
    _work.append(make())


def _run() -> None:
    _work[0]()
