"""Lowering from shapes, on the CPU; what needs libtpu is in test_compile.py."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from trainers import trainer_of

from data_pipelines.loading.loader import Loader
from medslip_jax.aot import lowering
from medslip_jax.aot.step_shapes import Step, step_of
from medslip_jax.benchmarks.step import paper_trainer
from medslip_jax.errors import InputError
from medslip_jax.experiment import read
from medslip_jax.parallel import sharding
from medslip_jax.parallel.topologies import parse_topology
from medslip_jax.pretraining import training_source
from medslip_jax.step.train_step import jit_init, jit_train_step
from medslip_jax.testing import tiny_books
from medslip_jax.training.setup import loader_options

pytestmark = pytest.mark.portable


def test_the_program_from_shapes_is_the_one_that_runs(tiny_run):
    mesh = sharding.make_mesh()
    source = training_source(read(tiny_run).data)
    trainer = trainer_of(tiny_run, num_images=len(source), mesh=mesh)
    loader = Loader(source, train=True, seed=0, **loader_options(read(tiny_run).data))
    shapes = jax.eval_shape(jit_init(trainer, mesh, image_size=tiny_run.data.image_size))
    # Zeros in place of the initial values, whose program takes a minute to compile.
    state = jax.tree.map(
        lambda s, place: jax.device_put(np.zeros(s.shape, s.dtype), place),
        shapes,
        sharding.state_sharding(mesh, shapes),
    )
    batch = sharding.put_batch(mesh, next(loader))
    loader.close()
    running = jit_train_step(trainer, mesh, state).lower(state, batch).as_text()
    per_chip = tiny_run.data.batch_size // mesh.size
    assert lowering.lower_step(step_of(read(tiny_run), mesh=mesh), mesh=mesh, per_chip=per_chip).as_text() == running


def test_the_batch_of_a_whole_pod_has_a_program():
    """65,536 images, 256 on each of 256 chips of v5e: whatever counts elements in 32 bits shows here."""
    trainer, mesh = paper_trainer(tiny_books(768), dtype="bfloat16"), sharding.make_mesh()
    batch = {"image": ((224, 224), np.uint8), "matrix": ((51, 75), np.int8)}
    step = Step(parts=trainer, batch=batch, image_size=224)
    text = lowering.lower_step(step, mesh=mesh, per_chip=65_536 // mesh.size).as_text()
    assert "tensor<65536x224x224xui8>" in text


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_the_pin_of_jax_is_named(monkeypatch):
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(
        InputError, match=r"--topology v5e:2x2: libtpu is not installed; pip install 'libtpu==[\d.]+\*'"
    ):
        lowering.mesh_of(parse_topology("v5e:2x2"))


def test_the_pin_is_read_from_the_metadata_of_jax(monkeypatch):
    lines = ["numpy>=2.0", 'jaxlib<=9,>=9; extra == "tpu"', 'libtpu==9.1.*; extra == "tpu"']
    monkeypatch.setattr(lowering.importlib.metadata, "requires", lambda name: lines)
    assert lowering.libtpu_requirement() == "libtpu==9.1.*"


def test_programs_for_other_machines_stay_out_of_the_cache():
    folder, x = Path(jax.config.jax_compilation_cache_dir), np.arange(3.0)
    entries = set(folder.rglob("*-cache"))
    with pytest.raises(ZeroDivisionError), lowering._without_cache():
        jax.jit(lambda x: x * 4 + 1)(x)
        _ = 1 / 0
    assert set(folder.rglob("*-cache")) == entries
    assert jax.config.jax_enable_compilation_cache
