"""The best model of a run that has two processes: one of them writes it, both know of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_processes import free_port

HERE = Path(__file__).parent
# Process 1 comes to every offer when process 0 may long have written what both have judged.
CODE = """
import json
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")
rank = int(sys.argv[2])
jax.distributed.initialize(f"localhost:{sys.argv[3]}", 2, rank)

from tiny_state import CONFIG, tiny_state
from medslip_jax import sharding
from medslip_jax.best import Best

mesh = sharding.make_mesh()
best = Best(sys.argv[1], config=CONFIG, metric="auroc")
said = []
for step, value in enumerate((0.7, 0.6, 0.8), start=1):
    state = tiny_state(step)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    variables = jax.device_put(variables, sharding.replicated(mesh))
    time.sleep(3 * rank)
    said.append([best.offer(value, step=step, variables=variables, mesh=mesh), best.known["step"]])
Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps(said))
"""


@pytest.mark.slow
def test_a_process_that_comes_late_decides_as_the_first(tmp_path):
    workdir, port = tmp_path / "run", free_port()
    workdir.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, workdir, str(rank), str(port)],
            env=os.environ | {"PYTHONPATH": str(HERE), "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    said = [json.loads(Path(f"{workdir}.{rank}").read_text()) for rank in range(2)]
    assert said == [[[True, 1], [False, 1], [True, 3]]] * 2
