"""Output of several processes as one: each line with the number of its process, progress bars of the first only."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, TextIO

_END = re.compile(rb"\r\n|\n|\r")


def pieces(source: BinaryIO) -> Iterator[dict]:
    r"""Pieces of a stream as they come: {"text", "end"} with end "\n" for a line, "\r" for a state of a progress bar.

    b"a\nb\r 5%\r10%\n" gives a, then bar b, then bar 5%, then line 10%. What has no end at the end is a line.
    """
    rest = b""
    while chunk := source.read1(65536):
        rest += chunk
        start = 0
        for match in _END.finditer(rest):
            # The other half of a "\r\n" may be on its way.
            if match.end() == len(rest) and match[0] == b"\r":
                break
            end = "\r" if match[0] == b"\r" else "\n"
            yield {"text": rest[start : match.start()].decode("utf-8", "replace"), "end": end}
            start = match.end()
        rest = rest[start:]
    if rest.strip(b"\r"):
        yield {"text": rest.strip(b"\r").decode("utf-8", "replace"), "end": "\n"}


def relay(
    source: BinaryIO, target: TextIO, *, process: int, lock: threading.Lock, muted: Callable[[], bool] = lambda: False
) -> None:
    """Copies a process's stream until it ends, "[process] " before each line.

    Args:
      source: standard output or error of the process.
      target: ours.
      process: its number. The bars of others than 0 are dropped: they would overwrite each other.
      lock: one for all streams, so that lines stay whole.
      muted: whether what comes is dropped.
    """
    for piece in pieces(source):
        if muted() or (piece["end"] == "\r" and (process != 0 or not piece["text"])):
            continue
        with lock:
            try:
                target.write(f"[{process}] {piece['text']}{piece['end']}")
                target.flush()
            except (OSError, ValueError):
                # Nobody reads us any more; the process must still be able to write.
                continue
