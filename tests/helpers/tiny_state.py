"""A run of a few arrays, for what is tested about checkpoints; and three ways to harm a file."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from medslip_jax.checkpoints import Checkpoints
from medslip_jax.experiment.sections import Pretraining
from medslip_jax.experiment.trees import tree_of
from medslip_jax.step.train_step import TrainState

CONFIG = tree_of(Pretraining())


def tiny_state(step: int, *, width: int = 16) -> TrainState:
    """Arrays that differ from step to step and do not compress."""
    rng = np.random.default_rng(step)

    def array(*shape: int):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    return TrainState(
        step=jnp.int32(step),
        params={"a": {"kernel": array(width, 32), "bias": array(32)}},
        batch_stats={"bn": {"mean": array(8)}},
        opt_state={"mu": array(width, 32), "count": jnp.int32(step)},
        ema={"params": {"a": {"kernel": array(width, 32)}}, "batch_stats": {"bn": {"mean": array(8)}}},
    )


def save(checkpoints: Checkpoints, *steps: int, metrics: dict | None = None, width: int = 16) -> None:
    """Saves these steps and waits until they are there."""
    for step in steps:
        checkpoints.save(
            tiny_state(step, width=width), step=step, loader_state={"batch": step}, config=CONFIG, metrics=metrics
        )
    checkpoints.wait()


def new_run(workdir: Path, *steps: int, **options) -> Path:
    """A run with these checkpoints; returns their directory."""
    checkpoints = Checkpoints(workdir, **{"keep": 9, "best_metric": "val_auroc"} | options)
    save(checkpoints, *steps, metrics={"val_auroc": 0.5})
    checkpoints.close()
    return checkpoints.directory


def restored(checkpoints: Checkpoints, *, width: int = 16) -> int:
    """Restores, compares all arrays with those saved, and returns the step."""
    found = checkpoints.restore(tiny_state(0, width=width), config=CONFIG)
    assert found["loader"] == {"batch": found["step"]}
    assert same(found["state"], tiny_state(found["step"], width=width))
    return found["step"]


def same(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, jax.device_get(a), jax.device_get(b))))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def remove(file: Path) -> None:
    file.unlink()


HARMS = (flip, cut, remove)


def array_data(item: Path) -> Path:
    """The largest file of an item's arrays."""
    return max((item / "ocdbt.process_0" / "d").iterdir(), key=lambda file: file.stat().st_size)
