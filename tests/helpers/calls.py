"""How much Python a piece of code runs: unlike seconds, the same on every machine."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def counted_calls() -> Iterator[dict[str, int]]:
    """{"count": calls of functions, Python's own and built-in ones} of the block, complete at its end."""
    calls, before = {"count": 0}, sys.getprofile()

    def count(frame, event: str, argument) -> None:
        calls["count"] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)
