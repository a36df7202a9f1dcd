"""A variant in a process of its own: two libraries in one share threads that spin and memory that comes apart."""

import contextlib
import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor

from data_pipelines.loading import begin_worker
from medslip_jax.benchmarks.timing import in_turns

Make = Callable[[], Callable[[], object]]

_work: list[Callable[[], object]] = []  # of the other process, made there


def beside_pytorch(ours: Callable[[], object], theirs: Mapping[str, Make], *, rounds: int) -> dict[str, dict]:
    """`in_turns` of "jax", and of what is made for PyTorch, each in a process of its own, where that is installed."""
    installed = importlib.util.find_spec("torch") is not None
    with contextlib.ExitStack() as stack:
        there = {name: stack.enter_context(other_process(make)) for name, make in theirs.items() if installed}
        return in_turns({"jax": ours, **there}, rounds=rounds, warm_up=2)


@contextlib.contextmanager
def other_process(make: Make) -> Iterator[Callable[[], None]]:
    """What is entered, called, runs once what `make` has made in the other process, and waits.

    Args:
      make: a function of a module, perhaps with arguments (`functools.partial`). What it returns is called there.

    Raises:
      concurrent.futures.process.BrokenProcessPool: the other process has ended.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(make,)) as pool:
        pool.submit(int).result()  # made
        yield lambda: pool.submit(_run).result()


def _begin(make: Make) -> None:
    begin_worker()
    _work.append(make())


def _run() -> None:
    _work[0]()
