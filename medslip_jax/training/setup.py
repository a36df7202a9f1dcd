"""What pre-training and fine-tuning set up alike: the mesh of a run, the fixed parts of its steps, its loaders."""

from collections.abc import Sized
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import DataConfig, Experiment
from medslip_jax.models.config import STRIDES
from medslip_jax.models.kinds import kind_of
from medslip_jax.parallel import sharding

# Keys of the config tree that may differ between the hosts of a run.
LOCAL_KEYS = ("data.dir", "data.workers", "data.threads", "books.path")


def run_mesh(experiment: Experiment) -> Mesh:
    """The mesh of a run, whose batches fit it, and whose images fit the model. `InputError` naming the key at fault."""
    size, stride = experiment.data.image_size, STRIDES[kind_of(experiment.model)]
    if size < stride or size % stride:
        raise InputError(f"data.image_size={size}: must be a multiple of {stride}, such as 224")
    mesh = sharding.make_mesh(data=experiment.mesh.data, fsdp=experiment.mesh.fsdp)
    parts = experiment.optim.accumulate
    sharding.check_batch_size(mesh, experiment.data.batch_size, key="data.batch_size", parts=parts)
    sharding.check_batch_size(mesh, experiment.eval.batch_size, key="eval.batch_size")
    return mesh


def step_options(experiment: Experiment, *, num_images: int, mesh: Mesh | None) -> dict[str, Any]:
    """Fields of `StepParts`: the length comes from num_steps or num_epochs, the BatchNorm groups from the mesh."""
    steps_per_epoch = max(1, num_images // experiment.data.batch_size)
    devices = experiment.mesh.batch_norm_devices
    return {
        "optim": experiment.optim,
        "num_steps": experiment.run.steps(per_epoch=steps_per_epoch),
        "steps_per_epoch": steps_per_epoch,
        "seed": experiment.run.seed,
        "norm_groups": sharding.batch_norm_groups(mesh, devices=devices) if mesh else 1,
    }


def loader_options(data: DataConfig, **changes: Any) -> dict[str, Any]:
    """Arguments of `Loader` that training and validation share, for this host; `changes` are further or other ones."""
    return {
        "batch_size": data.batch_size,
        "image_size": data.image_size,
        "workers": data.workers,
        "threads": data.threads,
        "host_index": jax.process_index(),
        "host_count": jax.process_count(),
        **changes,
    }


def evenly_spaced(rows: Sized, *, at_most: int) -> list[int]:
    """Indices of so many rows, 0 for all: a data set may be stored in the order of its sources or classes."""
    return np.linspace(0, len(rows), min(at_most or len(rows), len(rows)), endpoint=False).astype(int).tolist()
