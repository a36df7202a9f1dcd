"""The program of a run's validation, lowered from shapes: the forward pass on one of its batches."""

import math

import jax
from jax.sharding import Mesh

from data_pipelines.records import MATRIX_SHAPE
from medslip_jax.aot.step_shapes import Step
from medslip_jax.evaluation.scoring import jit_score_step
from medslip_jax.experiment.sections import Experiment, FineTuning
from medslip_jax.finetuning.step import FineTuner, jit_judge_step
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import Trainer, TrainState, eval_variables, jit_init
from medslip_jax.vocabulary import PATHOLOGIES


def lower_evaluation(experiment: Experiment, step: Step, *, mesh: Mesh) -> tuple[jax.stages.Lowered, int]:
    """(the program on eval.batch_size images, bytes a chip of what a run holds beside its arguments).

    Beside it a run keeps what only training reads: the optimiser's state, and the parameters where averages of them
    are evaluated.

    Raises:
      InputError: eval.batch_size does not suit the devices.
    """
    rows = experiment.eval.batch_size
    sharding.check_batch_size(mesh, rows, key="eval.batch_size")
    state = jax.eval_shape(jit_init(step.parts, mesh, image_size=step.image_size))
    state = jax.tree.map(
        lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
        state,
        sharding.state_sharding(mesh, state),
    )
    known: dict[str, tuple[tuple[int, ...], str]] = {"index": ((), "int64"), "valid": ((), "bool")}
    if isinstance(step.parts, Trainer):
        program = jit_score_step(step.parts, mesh)
        known |= {"labels": ((len(PATHOLOGIES),), "int8"), "matrix": (MATRIX_SHAPE, "int8")}
    else:
        assert isinstance(step.parts, FineTuner) and isinstance(experiment, FineTuning)
        program = jit_judge_step(step.parts, mesh, threshold=experiment.task.threshold)
    shapes = {**step.batch, **known}
    batch = {key: jax.ShapeDtypeStruct((rows, *shape), dtype) for key, (shape, dtype) in shapes.items()}
    return program.lower(eval_variables(state), batch), _held(state)


def _held(state: TrainState) -> int:
    """Bytes a chip of the leaves that the evaluation does not read."""
    read = {id(leaf) for leaf in jax.tree.leaves(eval_variables(state))}
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(state)
        if id(leaf) not in read
    )
