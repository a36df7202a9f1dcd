import functools
import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from medslip_jax.benchmarks.other_process import other_process
from medslip_jax.benchmarks.timing import in_turns


def make(path: str, *, text: str):
    def work() -> None:
        if text == "fail":
            os._exit(3)
        with open(path, "a") as file:  # noqa: PTH123
            file.write(f"{text} {os.getpid()}\n")

    return work


def test_work_is_done_elsewhere_before_the_call_returns(tmp_path):
    file = tmp_path / "log"
    with other_process(functools.partial(make, str(file), text="a")) as other:
        found = in_turns({"other": other}, rounds=2, warm_up=1)
        lines = file.read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 and len(set(lines)) == 1 and lines[0] != f"a {os.getpid()}"
    assert len(found["other"]["seconds"]) == 2


def test_a_process_that_ends_is_an_error(tmp_path):
    with (
        other_process(functools.partial(make, str(tmp_path / "log"), text="fail")) as other,
        pytest.raises(BrokenProcessPool),
    ):
        other()
