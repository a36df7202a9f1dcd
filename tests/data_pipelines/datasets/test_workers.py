import os

import pytest

from data_pipelines.datasets.workers import in_order
from medslip_jax.errors import InputError

pytestmark = pytest.mark.portable


def test_one_worker_starts_no_process():
    seen = []
    assert list(in_order(lambda item: seen.append(item) or os.getpid(), [3, 1], workers=1)) == [os.getpid()] * 2
    assert seen == [3, 1]


def test_results_come_in_order():
    assert list(in_order(abs, range(-9, 0), workers=2, chunk=2)) == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_process_that_dies_is_explained():
    with pytest.raises(InputError, match='if __name__ == "__main__"'):
        list(in_order(os._exit, [1, 1], workers=2))
