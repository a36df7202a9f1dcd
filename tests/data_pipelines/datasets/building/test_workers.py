import os
import signal

import pytest
from process_traces import Family

from data_pipelines.datasets.building.workers import in_order
from medslip_jax.errors import InputError

pytestmark = pytest.mark.portable


def test_one_worker_starts_no_process():
    seen = []
    assert list(in_order(lambda item: seen.append(item) or os.getpid(), [3, 1], workers=1)) == [os.getpid()] * 2
    assert seen == [3, 1]


def test_results_come_in_order():
    assert list(in_order(abs, range(-9, 0), workers=2)) == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_process_that_dies_is_explained():
    with pytest.raises(InputError, match='if __name__ == "__main__"'):
        list(in_order(os._exit, [1, 1], workers=2))


SLEEPERS = """
import sys, time
from data_pipelines.datasets.building.workers import in_order

if __name__ == "__main__":
    try:
        print("starting", flush=True)
        for _ in in_order(time.sleep, [0] * 8 + [600] * 8, workers=2):
            print("result", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(3)
"""


@pytest.mark.portable
def test_no_process_outlives_a_killed_parent(tmp_path):
    with Family(SLEEPERS, directory=tmp_path) as family:
        family.until(lambda: family.output().count("result") == 8)
        assert len(family.workers()) == 2
        family.parent.kill()
        assert family.ends(), family.alive()


@pytest.mark.portable
@pytest.mark.parametrize("moment", ["starting", "in work"])
def test_ctrl_c_ends_the_work_at_once(moment, tmp_path):
    with Family(SLEEPERS, directory=tmp_path) as family:
        family.until(family.workers if moment == "starting" else lambda: family.output().count("result") == 8)
        os.killpg(family.parent.pid, signal.SIGINT)
        assert family.parent.wait(60) == 3 and family.ends()
        assert set(family.output().split()) <= {"starting", "result", "interrupted"}, family.output()
