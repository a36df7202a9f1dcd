"""The fixed parts of a pre-training run."""

from jax.sharding import Mesh

from medslip_jax.experiment.sections import Pretraining
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import Trainer
from medslip_jax.text.books import TextBooks


def make_trainer(experiment: Pretraining, *, books: TextBooks, num_images: int, mesh: Mesh | None = None) -> Trainer:
    """What the steps need; the length comes from num_steps or num_epochs, the BatchNorm groups from the mesh."""
    steps_per_epoch = max(1, num_images // experiment.data.batch_size)
    devices = experiment.mesh.batch_norm_devices
    return Trainer(
        model=experiment.model,
        loss=experiment.loss,
        optim=experiment.optim,
        books=books,
        num_steps=experiment.run.steps(per_epoch=steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        seed=experiment.run.seed,
        norm_groups=sharding.batch_norm_groups(mesh, devices=devices) if mesh else 1,
    )
