import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medslip_jax.launch.output import relay


class Chunks(io.BufferedIOBase):
    """A stream that gives its bytes in the given portions."""

    def __init__(self, *chunks: bytes):
        self._chunks = list(chunks)

    def readable(self) -> bool:
        return True

    def read1(self, _size: int) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


def relayed(process: int, *chunks: bytes) -> str:
    target = io.StringIO()
    relay(Chunks(*chunks), target, process=process, lock=threading.Lock())
    return target.getvalue()


@pytest.mark.parametrize(
    ("chunks", "first", "second"),
    [
        ([b"one\ntwo\n"], "[0] one\n[0] two\n", "[1] one\n[1] two\n"),
        ([b"on", b"e\nt", b"wo"], "[0] one\n[0] two\n", "[1] one\n[1] two\n"),
        ([b"one\r\ntwo\r", b"\n"], "[0] one\n[0] two\n", "[1] one\n[1] two\n"),
        # A progress bar: each state begins with \r, and the last one ends with the line.
        ([b"\r 5%", b"\r 10%", b"\r100%\nend\n"], "[0]  5%\r[0]  10%\r[0] 100%\n[0] end\n", "[1] 100%\n[1] end\n"),
        ([b"\n\n"], "[0] \n[0] \n", "[1] \n[1] \n"),
        ([b"a\xff\xc3\xa9\n"], "[0] a\ufffdé\n", "[1] a\ufffdé\n"),
        ([], "", ""),
        ([b"\r"], "", ""),
    ],
)
def test_relay(chunks, first, second):
    assert relayed(0, *chunks) == first
    assert relayed(1, *chunks) == second


@given(st.lists(st.binary(max_size=6)))
def test_portions_do_not_matter(chunks):
    chunks = [chunk for chunk in chunks if chunk]
    assert relayed(0, *chunks) == relayed(0, b"".join(chunks))


def test_a_reader_that_went_away_does_not_stop_the_process():
    target = io.StringIO()
    target.close()
    source = Chunks(b"one\n", b"two\n")
    relay(source, target, process=0, lock=threading.Lock())
    # Read to its end: a pipe that nobody empties would stop the process.
    assert source.read1(1) == b""
