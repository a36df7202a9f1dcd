"""One function over many items, in this process or in several; the results come in the order of the items."""

import collections
import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from data_pipelines.loading import begin_worker, no_shared_memory, undisturbed
from medslip_jax.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """Yields function(item) for every item.

    The processes end at once where it ends early: an error, Ctrl-C, a caller that wants no more.

    Args:
      function: with workers > 1 it and the items must be picklable.
      items: what it is called with.
      workers: processes; 1 starts none.

    Raises:
      InputError: a process ended without an answer.
      NoSharedMemory: workers > 1 and no semaphore can be made in /dev/shm.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # "spawn": a forked child would inherit the locks of grain's and OpenCV's threads.
    context = multiprocessing.get_context("spawn")
    lifeline, end = context.Pipe(duplex=False)
    try:
        with lifeline, end, _pool(workers, context, lifeline) as pool:
            try:
                # Not `pool.map`, which cancels what waits; Python 3.11 cannot end the processes after that.
                waiting = undisturbed(lambda: collections.deque(pool.submit(function, item) for item in items))
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                end.close()
                raise
    except BrokenProcessPool as error:
        raise InputError(
            'a worker process ended abruptly: in a script of your own, build below `if __name__ == "__main__":`; '
            "where memory ran out, use workers=1"
        ) from error


def _pool(
    workers: int, context: multiprocessing.context.BaseContext, lifeline: connection.Connection
) -> concurrent.futures.ProcessPoolExecutor:
    """Processes that end when the other end of the lifeline is closed."""
    try:
        return concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=context, initializer=begin_worker, initargs=(lifeline,)
        )
    except OSError as error:
        raise no_shared_memory(error, instead="use --workers=1") from error
