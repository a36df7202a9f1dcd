"""Eight devices compute what one does. They need a process of their own: JAX counts devices once."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from warm_processes import together

from medslip_jax.errors import InputError
from medslip_jax.evaluation.scoring import jit_score_step, score
from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import Trainer, TrainState, jit_init, jit_train_step
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config

pytestmark = pytest.mark.portable

TRAINER = Trainer(
    model=tiny_config(), loss=LossConfig(), optim=OptimConfig(), books=tiny_books(), num_steps=10, steps_per_epoch=10
)


def of_every_shape(*fsdp: int) -> list[dict]:
    """The losses of ten steps for each mesh of all devices, and the scores of the first and the last.

    The initial state is made in the placement of the last mesh, and moved to the others.
    """
    mesh = sharding.make_mesh(fsdp=fsdp[-1])
    start = sharding.to_host(mesh, jit_init(TRAINER, mesh, image_size=32)())
    results = []
    for count in fsdp:
        mesh = sharding.make_mesh(fsdp=count)
        state, losses = ten_steps(mesh, start)
        split = {
            part: sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(getattr(state, part)))
            for part in ("params", "opt_state")
        }
        scores = scored(mesh, state) if count in (fsdp[0], fsdp[-1]) else {}
        results.append({"shape": mesh.devices.shape, "losses": losses, "split": split, "scores": scores})
    return results


def ten_steps(mesh: jax.sharding.Mesh, start: TrainState) -> tuple[TrainState, list[float]]:
    placement = sharding.state_sharding(mesh, start)
    shapes = jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), start, placement)
    state = sharding.place(start, like=shapes)
    step = jit_train_step(TRAINER, mesh, state)
    losses = []
    for i in range(10):
        state, metrics = step(state, sharding.put_batch(mesh, synthetic_batch(16, image_size=32, seed=i)))
        losses.append(float(metrics["loss"]))
    return state, losses


def scored(mesh: jax.sharding.Mesh, state: TrainState) -> dict[str, np.ndarray]:
    rows = np.arange(24)
    known = {"index": rows, "valid": rows < 20, "labels": np.zeros((24, 75), np.int8)}
    full = synthetic_batch(24, image_size=32) | known
    loader = [{key: value[i : i + 8] for key, value in full.items()} for i in (0, 8, 16)]
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    extra = np.random.default_rng(1).standard_normal((2, 12), np.float32)
    step = jit_score_step(TRAINER, mesh, map_classes=[3], map_anatomies=[5, 2], extra_queries=extra, map_extra=[1])
    scores = score(step, variables, loader, mesh=mesh)
    assert scores["index"].tolist() == list(range(20)) and (scores["matrix"] == full["matrix"][:20]).all()
    names = ("pathology", "anatomy", "pathology_map", "anatomy_maps", "extra", "extra_map")
    pairs = ("pair_predicted", "pair_true", "pair_count")
    return {name: scores[name].sum(axis=0) for name in names} | {name: scores[name] for name in pairs}


@pytest.mark.slow
def test_eight_devices_in_every_shape_give_the_losses_of_one():
    (one,) = of_every_shape(1)
    shapes = {1: (8, 1), 2: (4, 2), 8: (1, 8)}
    (results,) = together(of_every_shape, [tuple(shapes)], devices=8)
    for fsdp, eight in zip(shapes, results, strict=True):
        assert eight["shape"] == shapes[fsdp]
        # Adam's two moments are split as the parameters are.
        assert eight["split"]["opt_state"] == 2 * eight["split"]["params"]
        assert (eight["split"]["params"] > 0) == (fsdp > 1)
        np.testing.assert_allclose(eight["losses"], one["losses"], rtol=1e-5, err_msg=str(eight["shape"]))
        for name, sums in eight["scores"].items():
            np.testing.assert_allclose(sums, one["scores"][name], rtol=1e-3, err_msg=name)


def test_parameter_rule():
    mesh = jax.sharding.AbstractMesh((2, 4), sharding.AXES)
    shapes = {"matrix": (6, 8), "vector": (8,), "odd": (3, 5), "conv": (3, 3, 16, 32)}
    tree = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    specs = {name: s.spec for name, s in sharding.state_sharding(mesh, tree).items()}
    assert specs == {
        "matrix": PartitionSpec(None, "fsdp"),
        "vector": PartitionSpec(),
        "odd": PartitionSpec(),
        "conv": PartitionSpec(None, None, None, "fsdp"),
    }


def test_mesh_and_batch_errors():
    with pytest.raises(InputError, match=r"mesh\.fsdp=3 does not divide"):
        sharding.make_mesh(fsdp=3)
    with pytest.raises(InputError, match=r"mesh\.data=2 x mesh\.fsdp=1 is not the number of devices, 1"):
        sharding.make_mesh(data=2)
    assert sharding.make_mesh(data=1).shape == {"data": 1, "fsdp": 1}
    mesh = jax.sharding.AbstractMesh((2, 4), sharding.AXES)
    with pytest.raises(InputError, match=r"data\.batch_size=12 must be a positive multiple of the 8"):
        sharding.check_batch_size(mesh, 12, key="data.batch_size")
    with pytest.raises(InputError, match=r"batch_size=8 must be .* 8 device\(s\) times optim\.accumulate=2"):
        sharding.check_batch_size(mesh, 8, key="data.batch_size", parts=2)


def test_batch_norm_groups_of_devices():
    mesh = jax.sharding.AbstractMesh((2, 4), sharding.AXES)
    assert [sharding.batch_norm_groups(mesh, devices=n) for n in (0, 1, 2, 8)] == [1, 8, 4, 1]
    with pytest.raises(InputError, match=r"mesh\.batch_norm_devices=3 does not divide the 8 devices"):
        sharding.batch_norm_groups(mesh, devices=3)


def test_placed_arrays_are_copies_in_the_wanted_placement():
    given = {"w": np.arange(6.0).reshape(2, 3)}
    like = {"w": jax.device_put(np.zeros((2, 3), np.float32), jax.devices()[0])}
    placed = sharding.place(given, like=like)
    given["w"][:] = -1
    assert placed["w"].dtype == np.float32 and placed["w"].sharding == like["w"].sharding
    assert sharding.to_host(sharding.make_mesh(), placed)["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
