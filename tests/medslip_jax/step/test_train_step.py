import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.models import MeDSLIP
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import Trainer, jit_init, jit_train_step, normalise
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config


def make_trainer(**model) -> Trainer:
    return Trainer(
        model=tiny_config(**model),
        loss=LossConfig(),
        optim=OptimConfig(),
        books=tiny_books(),
        num_steps=4,
        steps_per_epoch=2,
    )


def one_step(trainer: Trainer) -> tuple:
    """(state before on the host, state after, metrics) of one step."""
    mesh = sharding.make_mesh()
    state = jit_init(trainer, mesh, image_size=32)()
    before = jax.device_get(state)
    after, metrics = jit_train_step(trainer, mesh, state)(state, synthetic_batch(4, image_size=32))
    return before, after, metrics


def test_normalise_by_hand():
    image = jnp.array([[[0, 255]]], jnp.uint8)
    got = normalise(image)
    assert got.shape == (1, 1, 2, 3)
    np.testing.assert_allclose(got[0, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6)
    np.testing.assert_allclose(got[0, 0, 1], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-6)


@pytest.fixture(scope="module")
def steps():
    return {dtype: one_step(make_trainer(dtype=dtype)) for dtype in ("float32", "bfloat16")}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_moves_everything_and_parameters_stay_float32(steps, dtype):
    before, after, metrics = steps[dtype]
    assert int(after.step) == 1
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((after.params, after.batch_stats)))
    same = jax.tree.map(np.array_equal, before.params, jax.device_get(after.params))
    assert [jax.tree_util.keystr(path) for path, s in jax.tree_util.tree_leaves_with_path(same) if s] == []
    assert all(np.isfinite(value) and value.dtype == jnp.float32 for value in metrics.values())


def test_bfloat16_is_close_to_float32(steps):
    losses = {dtype: metrics["loss"] for dtype, (_, _, metrics) in steps.items()}
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=2e-2)


def test_same_seed_same_losses_other_seed_others(steps):
    first, trainer = steps["float32"][2], make_trainer()
    assert one_step(trainer)[2]["loss"] == first["loss"]
    assert one_step(dataclasses.replace(trainer, seed=1))[2]["loss"] != first["loss"]


@pytest.mark.parametrize(
    ("changes", "streams"),
    [
        ({}, ["pathology", "anatomy"]),
        ({"mask_activation": "sigmoid"}, ["pathology", "anatomy"]),
        ({"mask_activation": "off", "share_query_projection": False}, ["pathology", "anatomy"]),
        ({"patch_norm": "layer_norm", "linear_init": "xavier"}, ["pathology", "anatomy"]),
        ({"streams": "pathology"}, ["pathology"]),
    ],
    ids=["released", "sigmoid", "no mask", "small budget", "single stream"],
)
def test_outputs_of_every_option(changes, streams):
    config, books = tiny_config(**changes), tiny_books()
    image = jnp.zeros((2, 48, 32, 3))

    def run(key):
        variables = MeDSLIP(config).init(key, image, books.pathology, books.anatomy)
        return MeDSLIP(config).apply(variables, image, books.pathology, books.anatomy)

    shapes = jax.tree.map(lambda x: x.shape, jax.eval_shape(run, jax.random.key(0)))
    assert set(shapes) == set(streams)
    for stream in streams:
        queries = {"pathology": 75, "anatomy": 51}[stream]
        assert shapes[stream] == {
            "patches": (2, 6, 16),
            "features": (2, queries, 16),
            "logits": (2, queries, 2),
            "projection": (2, queries, 12),
            "attention": (2, 1, queries, 6),
        }


def test_attention_rows_are_distributions():
    config, books = tiny_config(dtype="bfloat16"), tiny_books()
    image = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    args = (image, books.pathology, books.anatomy)
    model = MeDSLIP(config)
    out = jax.jit(lambda key: model.apply(model.init(key, *args), *args))(jax.random.key(1))
    for stream in out.values():
        assert stream["attention"].dtype == jnp.float32
        np.testing.assert_allclose(stream["attention"].sum(-1), 1, rtol=1e-5)
