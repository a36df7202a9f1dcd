"""Real processes and real signals: what a run that is killed, or asked to stop, leaves behind."""

import random
import signal
import subprocess

import jax
import numpy as np
import pytest
from run_processes import Run, losses, steps_saved

from medslip_jax.checkpoints import read_variables
from medslip_jax.exit_codes import PREEMPTED

STEPS = 120
LONG = (
    f"--config.num_steps={STEPS}",
    "--config.model.streams=pathology",  # most of a start is tracing the step, and two streams trace longer
    "--config.save_every=10",
    "--config.keep=100",
    "--config.optim.ema_decay=0.9",
)


def parameters(workdir, step: int) -> dict[str, np.ndarray]:
    placement = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    variables = read_variables(workdir / "checkpoints" / str(step), sharding=placement)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.fixture(scope="module")
def undisturbed(phantom_data, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("undisturbed"), phantom_data, *LONG)
    assert run.wait() == 0, run.output()[-3000:]
    return run


def check_same_run(workdir, undisturbed, *, until: int) -> None:
    """Every step's loss once, none skipped, and the same parameters to the last bit."""
    want = losses(undisturbed.workdir)
    assert list(want) == list(range(1, STEPS + 1))
    assert losses(workdir) == {step: want[step] for step in range(1, until + 1)}
    got, want = parameters(workdir, until), parameters(undisturbed.workdir, until)
    assert got.keys() == want.keys()
    assert [name for name in want if not np.array_equal(got[name], want[name])] == []


@pytest.mark.slow
def test_killed_at_twenty_random_moments(undisturbed, phantom_data, tmp_path):
    """Moments after a start's first new step: in the wait for data, a step, a save, or between."""
    rng = random.Random(0)
    for kill in range(20):
        run = Run(tmp_path, phantom_data, *LONG)
        # Now and then while it still starts, restores or compiles.
        if kill % 5 == 4:
            wait = rng.uniform(0.5, 6)
        else:
            run.until_stepping()
            wait = rng.uniform(0, 0.6)
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(wait)
        run.kill(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    last = Run(tmp_path, phantom_data, *LONG)
    assert last.wait() == 0, last.output()[-3000:]
    check_same_run(tmp_path, undisturbed, until=STEPS)


@pytest.mark.slow
def test_asked_to_stop_ten_times(undisturbed, phantom_data, tmp_path):
    saved = []
    for _ in range(10):
        run = Run(tmp_path, phantom_data, *LONG)
        run.until_stepping()
        run.kill(signal.SIGTERM)
        assert run.wait() == PREEMPTED, run.output()[-3000:]
        saved.append(steps_saved(tmp_path)[-1])
        assert f"stopped by SIGTERM at step {saved[-1]}, saved" in run.output()
        # The step that was being computed is finished and saved, so nothing is computed twice.
        assert max(losses(tmp_path)) == saved[-1]
    assert len(set(saved)) == 10 and saved == sorted(saved)
    until = saved[-1] // 10 * 10 + 20
    last = Run(tmp_path, phantom_data, *LONG, f"--stop_after={until}")
    assert last.wait() == 0, last.output()[-3000:]
    check_same_run(tmp_path, undisturbed, until=until)
