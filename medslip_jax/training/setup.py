"""What pre-training and fine-tuning set up alike: the mesh of a run and the arguments of its loaders."""

import jax
from jax.sharding import Mesh

from medslip_jax.experiment.sections import DataConfig, Experiment
from medslip_jax.parallel import sharding

# Keys of the config tree that may differ between the hosts of a run.
LOCAL_KEYS = ("data.dir", "data.workers", "data.threads", "books.path")


def run_mesh(experiment: Experiment) -> Mesh:
    """The mesh of a run, whose batches fit it. `InputError` naming the key that does not."""
    mesh = sharding.make_mesh(data=experiment.mesh.data, fsdp=experiment.mesh.fsdp)
    parts = experiment.optim.accumulate
    sharding.check_batch_size(mesh, experiment.data.batch_size, key="data.batch_size", parts=parts)
    sharding.check_batch_size(mesh, experiment.eval.batch_size, key="eval.batch_size")
    return mesh


def loader_options(data: DataConfig, *, batch_size: int | None = None, workers: int | None = None) -> dict:
    """Arguments of `Loader` that training and validation share, for this host.

    Args:
      data: of the run.
      batch_size, workers: in place of those of `data`.
    """
    return {
        "batch_size": data.batch_size if batch_size is None else batch_size,
        "image_size": data.image_size,
        "workers": data.workers if workers is None else workers,
        "threads": data.threads,
        "host_index": jax.process_index(),
        "host_count": jax.process_count(),
    }
