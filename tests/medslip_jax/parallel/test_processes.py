"""Two real processes of one run: the same batches and losses, what they agree on, and what happens when one goes."""

import hashlib
import json
import signal

import jax
import numpy as np
import pytest
from run_processes import ROOT, Run, Verb, losses, pair, steps_saved
from warm_processes import free_port, together

from data_pipelines.datasets import open_split
from data_pipelines.loading.augment import AugmentConfig
from data_pipelines.loading.loader import Loader
from medslip_jax.exit_codes import BAD_INPUT, PREEMPTED, STUCK
from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.parallel import processes, sharding
from medslip_jax.parallel.processes import HEARTBEAT_SECONDS, CompiledTogether
from medslip_jax.step.train_step import Trainer, jit_init, jit_train_step
from medslip_jax.testing import tiny_books, tiny_config

pytestmark = pytest.mark.slow


def batches_and_losses(data, port: int, count: int, number: int) -> dict:
    """Loader -> mesh -> ten steps, of one process or as one of two."""
    if count > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", count, number)
    trainer = Trainer(
        model=tiny_config(), loss=LossConfig(), optim=OptimConfig(), books=tiny_books(), num_steps=10, steps_per_epoch=1
    )
    mesh = sharding.make_mesh()
    loader = Loader(
        open_split(data, "phantom", "train"),
        batch_size=16,
        image_size=32,
        seed=3,
        train=True,
        augment=AugmentConfig(),
        host_index=jax.process_index(),
        host_count=jax.process_count(),
    )
    state = jit_init(trainer, mesh, image_size=32)()
    step = CompiledTogether(jit_train_step(trainer, mesh, state), name="step")
    found = {"devices": mesh.size, "batches": [], "losses": []}
    for _ in range(10):
        batch = sharding.put_batch(mesh, next(loader))
        whole = sharding.to_host(mesh, batch)
        found["batches"].append(hashlib.sha256(whole["image"].tobytes() + whole["matrix"].tobytes()).hexdigest())
        state, metrics = step(state, batch)
        found["losses"].append(float(metrics["loss"]))
    return found


@pytest.mark.portable
def test_two_processes_of_four_devices_are_one_of_eight(phantom_data):
    port = free_port()
    (one,) = together(batches_and_losses, [(phantom_data, port, 1, 0)], devices=8)
    two = together(batches_and_losses, [(phantom_data, port, 2, number) for number in range(2)], devices=4)
    assert one["devices"] == two[0]["devices"] == two[1]["devices"] == 8
    assert two[0]["batches"] == two[1]["batches"] == one["batches"]
    assert two[0]["losses"] == two[1]["losses"]
    np.testing.assert_allclose(two[0]["losses"], one["losses"], rtol=1e-5)


def through_both_barriers(port: int, number: int) -> list[bool]:
    """Whether JAX's own barrier was there; then without it, as under a JAX that has it elsewhere."""
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, number)
    found = processes._service_barrier() is not None
    processes.barrier("of the service")
    processes._service_barrier = lambda: None
    processes.barrier("a collective")
    return [found, processes._service_barrier() is None]


@pytest.mark.portable
def test_processes_wait_for_each_other_with_and_without_the_private_barrier():
    port = free_port()
    said = together(through_both_barriers, [(port, number) for number in range(2)], devices=1, timeout=120)
    assert said == [[True, True]] * 2, f"jax {jax.__version__} has its barrier elsewhere; see parallel/processes.py"


def test_processes_that_run_different_things_stop_before_step_0(phantom_data, tmp_path):
    port = free_port()
    both = [
        Run(
            tmp_path,
            phantom_data,
            f"--coordinator=127.0.0.1:{port}",
            "--processes=2",
            f"--process_id={i}",
            f"--config.optim.learning_rate={rate}",
            devices=1,
            name=f"process{i}",
        )
        for i, rate in enumerate((1e-3, 2e-3))
    ]
    assert [run.wait() for run in both] == [BAD_INPUT, BAD_INPUT]
    for run in both:
        assert "process 1 has optim.learning_rate=0.002 and process 0 0.001" in run.output()
    assert losses(tmp_path) == {} and steps_saved(tmp_path) == []


def test_who_waits_in_vain_says_so(phantom_data, tmp_path):
    flags = (f"--coordinator=127.0.0.1:{free_port()}", "--processes=2", "--process_id=1", "--connect_timeout=3")
    run = Run(tmp_path, phantom_data, *flags)
    assert run.wait() == STUCK
    assert "process 1 of 2: waiting for the others at 127.0.0.1:" in run.output()
    assert "were not all there after 3 s" in run.output()


def test_stop_loss_of_a_process_and_another_shape(phantom_data, tmp_path):
    """One run through what a pod meets: SIGTERM on one host, the death of a host, and fewer devices afterwards."""
    long = (
        "--config.num_steps=4000",
        "--config.save_every=5",
        "--config.optim.ema_decay=0.9",
        "--config.model.streams=pathology",  # compiles in half the time
    )

    both = pair(tmp_path, phantom_data, *long, devices=2)
    both[0].until_stepping()
    both[1].kill(signal.SIGTERM)
    assert [run.wait() for run in both] == [PREEMPTED, PREEMPTED], both[0].output()[-3000:]
    stopped = steps_saved(tmp_path)[-1]
    assert max(losses(tmp_path)) == stopped

    both = pair(tmp_path, phantom_data, *long, devices=2)
    both[0].until(lambda: steps_saved(tmp_path)[-1] > stopped)
    both[1].kill(signal.SIGKILL)
    code = both[0].wait(3 * HEARTBEAT_SECONDS)
    assert code in (STUCK, -signal.SIGABRT), both[0].output()[-3000:]
    assert "another process is gone" in both[0].output() or "another task died" in both[0].output()
    both[1].wait()

    # One process with one device goes on, and the losses are those of one that was never disturbed.
    kept = steps_saved(tmp_path)[-1]
    alone = Run(tmp_path, phantom_data, *long, f"--stop_after={kept + 5}", name="alone")
    assert alone.wait() == 0, alone.output()[-3000:]
    undisturbed = Run(tmp_path / "undisturbed", phantom_data, *long, "--stop_after=8", name="undisturbed")
    assert undisturbed.wait() == 0
    first = losses(tmp_path / "undisturbed")
    found = losses(tmp_path)
    assert list(found) == list(range(1, kept + 6))
    np.testing.assert_allclose([found[s] for s in first], list(first.values()), rtol=1e-4)


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_fine_tuning_on_two_processes_is_that_of_one(kind, phantom_data, tmp_path):
    """The best model is written by one of them, all judge it, and the test split is judged once."""
    config = f"--config={ROOT / 'configs' / f'finetune_{kind}.py'}:data=phantom,tiny"
    small = ("--config.data.image_size=32", "--config.model.trunk_width=4", "--config.model.backbone=resnet18")
    often = ("--config.eval_every=2", "--resamples=20")
    results = {}
    for name in ("one", "two"):
        workdir, log = tmp_path / name, tmp_path / f"{name}.log"
        argv = ["finetune", config, f"--workdir={workdir}", f"--config.data.dir={phantom_data}", *small, *often]
        if name == "one":
            verbs = [Verb([*argv, "--distributed=off"], log=log)]
        elif kind == "classification":  # as README starts them
            verbs = [Verb(["launch", "local", "--processes=2", "--devices_per_process=1", "--", *argv], log=log)]
        else:
            meet = (f"--coordinator=127.0.0.1:{free_port()}", "--processes=2")
            verbs = [Verb([*argv, *meet, f"--process_id={i}"], log=log) for i in range(2)]
        for verb in verbs:
            assert verb.wait() == 0, verb.output()[-3000:]
        results[name] = json.loads((workdir / "test" / "metrics.json").read_text())
    one, two = results["one"], results["two"]
    assert one["checkpoint"]["step"] == two["checkpoint"]["step"]
    np.testing.assert_allclose(one["checkpoint"]["value"], two["checkpoint"]["value"], atol=1e-3)
    assert one["data"] == two["data"] and two["data"]["images"] > 0
