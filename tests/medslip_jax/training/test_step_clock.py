"""Times add up, and what is waited for is told apart."""

import time

import pytest

from medslip_jax.training.step_clock import StepClock


@pytest.fixture
def ticks(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_parts_of_a_window_by_hand(ticks):
    clock = StepClock(images=32, chips=4, peak_flops=1e12)
    clock.flops = 5e11
    for _ in range(2):
        with clock.waiting("data"):
            ticks[0] += 0.25
        ticks[0] += 0.25
        with clock.waiting("device"):
            ticks[0] += 0.5
        clock.step()
    assert clock.pop() == {
        "step_seconds": 1.0,
        "data_seconds": 0.25,
        "device_seconds": 0.5,
        "host_seconds": 0.25,
        "images_per_second": 32.0,
        "images_per_second_per_chip": 8.0,
        "mfu": 0.5,
    }
    assert clock.pop() == {}


def test_a_restart_forgets_and_an_unknown_peak_gives_no_utilisation(ticks):
    clock = StepClock(images=8, chips=1)
    clock.flops = 1.0
    with clock.waiting("data"):
        ticks[0] += 100
    clock.restart()
    ticks[0] += 2
    clock.step()
    found = clock.pop()
    assert found["step_seconds"] == 2 and found["data_seconds"] == 0 and "mfu" not in found
