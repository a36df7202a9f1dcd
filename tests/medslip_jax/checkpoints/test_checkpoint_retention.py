"""Which checkpoints stay."""

import datetime
from types import SimpleNamespace

import pytest
import time_machine
from orbax.checkpoint.checkpoint_managers import PreservationContext
from tiny_state import new_run, restored, save

from medslip_jax.checkpoints import Checkpoints
from medslip_jax.checkpoints.retention import retention
from medslip_jax.errors import InputError

pytestmark = pytest.mark.portable

DEFAULTS = {"keep": 1, "keep_every_hours": 0.0, "best_metric": None, "best_mode": "max"}
NAN = float("nan")


def kept(rows: list[tuple], **options) -> list[int]:
    """(step, hour, value) -> the steps that stay."""
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    infos = [
        SimpleNamespace(
            step=step, time=start + datetime.timedelta(hours=hour), metrics=None if value is None else {"v": value}
        )
        for step, hour, value in rows
    ]
    policy = retention(**DEFAULTS | options)["preservation_policy"]
    stays = policy.should_preserve(infos, context=PreservationContext())
    return [info.step for info, stay in zip(infos, stays, strict=True) if stay]


PLAIN = [(step, step / 2, None) for step in range(1, 7)]
SCORED = [(1, 0, 0.6), (2, 1, 0.9), (3, 2, 0.9), (4, 3, NAN), (5, 4, None), (6, 5, 0.2), (7, 6, 0.7)]


@pytest.mark.parametrize(
    ("rows", "options", "stay"),
    [
        (PLAIN, {"keep": 1}, [6]),
        (PLAIN, {"keep": 3}, [4, 5, 6]),
        (PLAIN, {"keep": 9}, [1, 2, 3, 4, 5, 6]),
        (PLAIN, {"keep_every_hours": 1}, [1, 3, 5, 6]),
        (PLAIN, {"keep_every_hours": 0.75}, [1, 3, 5, 6]),
        (PLAIN, {"keep_every_hours": 2}, [1, 5, 6]),
        (PLAIN, {"best_metric": "v"}, [6]),
        (SCORED, {"best_metric": "v"}, [3, 7]),
        (SCORED, {"best_metric": "v", "best_mode": "min"}, [6, 7]),
        (SCORED, {"best_metric": "v", "keep": 2, "keep_every_hours": 5}, [1, 3, 6, 7]),
        (SCORED[3:5], {"best_metric": "v"}, [4, 5]),
    ],
)
def test_policies(rows, options, stay):
    assert kept(rows, **options) == stay


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep_every_hours": -1}, {"best_mode": "most"}])
def test_out_of_range(tmp_path, options):
    with pytest.raises(InputError, match=next(iter(options))):
        Checkpoints(tmp_path, **options)


def steps(checkpoints: Checkpoints) -> set[str]:
    return {d.name for d in checkpoints.directory.iterdir()}


@pytest.mark.parametrize(("mode", "best"), [("max", "2"), ("min", "3")])
def test_the_best_stays_through_restarts(tmp_path, mode, best):
    values = {1: 0.6, 2: 0.9, 3: 0.1, 4: NAN, 5: None, 6: 0.4}
    for step, value in values.items():
        checkpoints = Checkpoints(tmp_path, keep=1, best_metric="v", best_mode=mode)
        save(checkpoints, step, metrics=None if value is None else {"v": value, "other": step})
        checkpoints.close()
    assert steps(checkpoints) == {best, "6"}


def test_a_metric_that_is_undefined_is_none(tmp_path):
    """Validation without positives or without negatives gives None for its AUROC."""
    checkpoints = Checkpoints(tmp_path, keep=1, best_metric="v")
    for step, value in {1: None, 2: 0.6, 3: None, 4: None}.items():
        save(checkpoints, step, metrics={"v": value, "classes": 0})
    checkpoints.close()
    assert steps(checkpoints) == {"2", "4"}


def test_a_metric_asked_for_later_and_one_that_is_new(tmp_path):
    new_run(tmp_path, 1, 2, best_metric=None)
    checkpoints = Checkpoints(tmp_path, keep=1, best_metric="v")
    save(checkpoints, 3, metrics={"v": 0.5})
    save(checkpoints, 4, metrics={"v": 0.4})
    checkpoints.close()
    assert steps(checkpoints) == {"3", "4"}
    checkpoints = Checkpoints(tmp_path, keep=1, best_metric="w")
    save(checkpoints, 5, metrics={"w": 0.5})
    save(checkpoints, 6, metrics={"w": 0.4})
    assert steps(checkpoints) == {"5", "6"} and restored(checkpoints) == 6
    checkpoints.close()


def test_by_time(tmp_path):
    """One an hour, over restarts: the first, the next that is an hour younger, and so on; and the newest."""
    for number in range(5):
        with time_machine.travel(datetime.datetime(2026, 1, 1) + number * datetime.timedelta(minutes=40)):
            checkpoints = Checkpoints(tmp_path, keep=1, keep_every_hours=1)
            save(checkpoints, number + 1)
            checkpoints.close()
    assert steps(checkpoints) == {"1", "3", "5"}
