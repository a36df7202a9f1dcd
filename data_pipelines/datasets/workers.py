"""One function over many items, in this process or in several; the results come in the order of the items."""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from medslip_jax.errors import InputError

Item, Result = TypeVar("Item"), TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, chunk: int = 8
) -> Iterator[Result]:
    """Yields function(item) for every item.

    Args:
      function: with workers > 1 it and the items must be picklable.
      items: what it is called with.
      workers: processes; 1 starts none.
      chunk: items that a process takes at a time.

    Raises:
      InputError: a process ended without an answer.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # "spawn": a forked child would inherit the locks of grain's and OpenCV's threads.
    context = multiprocessing.get_context("spawn")
    try:
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
            yield from pool.map(function, items, chunksize=chunk)
    except BrokenProcessPool as error:
        raise InputError(
            'a worker process ended abruptly: in a script of your own, build below `if __name__ == "__main__":`; '
            "where memory ran out, use workers=1"
        ) from error


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
