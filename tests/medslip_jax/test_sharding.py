"""Eight devices compute what one does. Fake devices need their own process: XLA reads the flag at start."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from medslip_jax import sharding
from medslip_jax.errors import InputError

FIVE_STEPS = """
import json, sys
import jax
from medslip_jax import sharding
from medslip_jax.losses import LossConfig
from medslip_jax.optim import OptimConfig
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config
from medslip_jax.train_step import Trainer, jit_init, jit_train_step

trainer = Trainer(model=tiny_config(), loss=LossConfig(), optim=OptimConfig(), books=tiny_books(), num_steps=5,
                  steps_per_epoch=5)
mesh = sharding.make_mesh(fsdp=int(sys.argv[1]))
state = jit_init(trainer, mesh, image_size=32)()
step = jit_train_step(trainer, mesh, state)
losses = []
for i in range(5):
    state, metrics = step(state, sharding.put_batch(mesh, synthetic_batch(16, image_size=32, seed=i)))
    losses.append(float(metrics["loss"]))

import numpy as np
from medslip_jax.scoring import jit_score_step, score
rows = np.arange(24)
known = {"index": rows, "valid": rows < 20, "labels": np.zeros((24, 75), np.int8)}
full = synthetic_batch(24, image_size=32) | known
loader = [{key: value[i : i + 8] for key, value in full.items()} for i in (0, 8, 16)]
variables = {"params": state.params, "batch_stats": state.batch_stats}
extra = np.random.default_rng(1).standard_normal((2, 12), np.float32)
step = jit_score_step(trainer, mesh, map_classes=[3], map_anatomies=[5, 2], extra_queries=extra, map_extra=[1])
scores = score(step, variables, loader, mesh=mesh)
assert scores["index"].tolist() == list(range(20)) and (scores["matrix"] == full["matrix"][:20]).all()
split = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.params))
names = ("pathology", "anatomy", "pathology_map", "anatomy_maps", "extra", "extra_map")
checks = {name: scores[name].sum(axis=0).ravel()[:20].tolist() for name in names}
checks |= {name: np.nan_to_num(scores[name]).ravel().tolist() for name in ("pair_predicted", "pair_true", "pair_count")}
print(json.dumps({"devices": mesh.size, "losses": losses, "split": split, "scores": checks}))
"""


def five_steps(*, devices: int, fsdp: int = 1) -> dict:
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    run = subprocess.run(
        [sys.executable, "-c", FIVE_STEPS, str(fsdp)],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def one_device():
    return five_steps(devices=1)


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [1, 4])
def test_eight_devices_give_the_losses_of_one(one_device, fsdp):
    eight = five_steps(devices=8, fsdp=fsdp)
    assert eight["devices"] == 8
    assert (eight["split"] > 0) == (fsdp > 1)
    np.testing.assert_allclose(eight["losses"], one_device["losses"], rtol=1e-5)
    for name, sums in one_device["scores"].items():
        np.testing.assert_allclose(eight["scores"][name], sums, rtol=1e-3, err_msg=name)


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
    mesh = jax.sharding.AbstractMesh((2, 4), sharding.AXES)
    with pytest.raises(InputError, match=r"data\.batch_size=12 must be a positive multiple of the 8"):
        sharding.check_batch_size(mesh, 12, key="data.batch_size")
