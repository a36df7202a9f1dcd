"""The best model of a run that has two processes: one of them writes it, both know of it."""

import time
from pathlib import Path

import jax
import pytest
from tiny_state import CONFIG, tiny_state
from warm_processes import free_port, together

from medslip_jax.checkpoints import Best
from medslip_jax.parallel import sharding


def offers(workdir: Path, rank: int, port: int) -> list[list]:
    """Of one process: what each offer said, and which step is the best then."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank)
    mesh = sharding.make_mesh()
    best = Best(workdir, config=CONFIG, metric="auroc")
    said = []
    for step, value in enumerate((0.7, 0.6, 0.8), start=1):
        state = tiny_state(step)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        variables = jax.device_put(variables, sharding.replicated(mesh))
        # Process 1 comes to every offer when process 0 may long have written what both have judged.
        time.sleep(2 * rank)
        said.append([best.offer(value, step=step, variables=variables, mesh=mesh), best.known["step"]])
    return said


@pytest.mark.slow
def test_a_process_that_comes_late_decides_as_the_first(tmp_path):
    port = free_port()
    said = together(offers, [(tmp_path, rank, port) for rank in range(2)], devices=1, timeout=120)
    assert said == [[[True, 1], [False, 1], [True, 3]]] * 2
