"""A variant in a process of its own: two libraries in one share threads that spin and memory that comes apart."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

from data_pipelines.loading import begin_worker


class OtherProcess:
    """Called, it runs once what `make` has made in the other process, and waits. A context manager.

    Args:
      make: a function of a module; its arguments follow. What it returns is called there.
    """

    def __init__(self, make: Callable[..., Callable[[], object]], *args, **kwargs):
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make, args, kwargs), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> "OtherProcess":
        self._answer()
        return self

    def __exit__(self, *_) -> None:
        self._here.close()
        self._process.join()

    def __call__(self) -> None:
        self._here.send("run")
        self._answer()

    def _answer(self) -> None:
        """`RuntimeError` if the other process has ended."""
        try:
            self._here.recv()
        except EOFError as error:
            self._process.join()
            raise RuntimeError(f"the process beside this one ended with {self._process.exitcode}") from error


def _serve(there: Connection, make: Callable, args: tuple, kwargs: dict) -> None:
    begin_worker()
    work = make(*args, **kwargs)
    there.send("made")
    while True:
        try:
            there.recv()
        except EOFError:
            return
        work()
        there.send("done")
