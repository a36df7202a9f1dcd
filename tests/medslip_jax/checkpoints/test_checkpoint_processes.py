"""Two processes that share a file system: one checkpoint of both, one choice, and other devices to go on with."""

import contextlib
import io
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_state import CONFIG, array_data, flip, new_run, restored, same, tiny_state
from warm_processes import free_port, together

from medslip_jax.checkpoints import Checkpoints, find_checkpoint, read_variables
from medslip_jax.checkpoints.integrity import damage
from medslip_jax.errors import InputError
from medslip_jax.parallel import sharding


def restore_and_save(workdir: Path, steps: tuple[int, ...], rank: int, port: int) -> tuple[dict, list[str]]:
    """One of two processes restores what is there and saves these steps: what it says, and its notes."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank)
    mesh = sharding.make_mesh(fsdp=4)
    assert jax.process_count() == 2 and mesh.size == 4
    shapes = jax.eval_shape(lambda: tiny_state(0))
    placement = sharding.state_sharding(mesh, shapes)
    split = [s for s in jax.tree.leaves(placement) if "fsdp" in s.spec]
    assert len(split) == 3, "kernels lie in four parts"
    template = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placement)
    said = {}
    with contextlib.redirect_stderr(io.StringIO()) as notes:
        try:
            checkpoints = Checkpoints(workdir, keep=3, best_metric="v")
            said["restored"] = checkpoints.latest() and restored_parts(checkpoints, template)
            for step in steps:
                # Each process gives its parts of the same array.
                state = sharding.place(tiny_state(step), like=template)
                checkpoints.save(state, step=step, loader_state={"batch": step}, config=CONFIG, metrics={"v": step})
            checkpoints.wait()
            said["latest"] = checkpoints.latest()
            checkpoints.close()
        except InputError as error:
            said["error"] = str(error)
    return said, [line for line in notes.getvalue().splitlines() if line.startswith("note:")]


def restored_parts(checkpoints: Checkpoints, template) -> int:
    found = checkpoints.restore(template, config=CONFIG)
    for got, want in zip(jax.tree.leaves(found["state"]), jax.tree.leaves(tiny_state(found["step"])), strict=True):
        assert all(np.array_equal(part.data, np.asarray(want)[part.index]) for part in got.addressable_shards)
        assert got.sharding.mesh.size == 4
    assert found["loader"] == {"batch": found["step"]}
    return found["step"]


def two_processes(workdir: Path, *steps: int) -> tuple[list[dict], list[list[str]]]:
    """What each says, and the notes of each."""
    port = free_port()
    results = together(restore_and_save, [(workdir, steps, rank, port) for rank in range(2)], devices=2, timeout=300)
    said, notes = zip(*results, strict=True)
    return list(said), list(notes)


def well(restored: int | None, latest: int) -> list[dict]:
    return [{"restored": restored, "latest": latest}] * 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("two") / "run"
    assert two_processes(workdir, 1, 2, 3) == (well(None, 3), [[], []])
    return workdir


def cpu():
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


@pytest.mark.portable
@pytest.mark.slow
def test_one_process_and_device_goes_on_from_two_of_two(run):
    directory = run / "checkpoints"
    assert (directory / "3" / "model" / "ocdbt.process_1").is_dir(), "both have written"
    assert [damage(directory / str(step)) for step in (1, 2, 3)] == [None] * 3
    checkpoints = Checkpoints(run, keep=3)
    assert restored(checkpoints) == 3
    checkpoints.close()
    assert same(read_variables(find_checkpoint(run), sharding=cpu()), tiny_state(3).ema)


@pytest.mark.slow
def test_both_fall_back_to_the_same(run):
    """Process 0 renames and tells; two processes then save the step again."""
    directory = run / "checkpoints"
    flip(array_data(directory / "3" / "model"))
    said, notes = two_processes(run, 3)
    assert said == well(2, 3)
    assert [len(lines) for lines in notes] == [1, 0] and notes[0][0].endswith("now called 3.damaged; going on from 2")
    assert {d.name for d in directory.iterdir()} == {"1", "2", "3", "3.damaged"}
    assert damage(directory / "3") is None


@pytest.mark.slow
def test_two_go_on_from_one_and_both_refuse_damage(tmp_path):
    workdir = tmp_path / "run"
    directory = new_run(workdir, 1, 2)
    assert two_processes(workdir) == (well(2, 2), [[], []])
    for step in (1, 2):
        flip(array_data(directory / str(step) / "optimizer"))
    (first, second), notes = two_processes(workdir)
    assert first == second and "every checkpoint is damaged (2: optimizer/" in first["error"]
    assert notes == [[], []] and {d.name for d in directory.iterdir()} == {"1", "2"}
