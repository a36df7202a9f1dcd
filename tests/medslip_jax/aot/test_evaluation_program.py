"""The program of a validation from shapes: the one that runs, and what stays in memory beside it."""

import jax
import pytest
from places import CONFIGS

from data_pipelines.loading.loader import Loader
from medslip_jax.aot.evaluation_program import lower_evaluation
from medslip_jax.aot.step_shapes import step_of
from medslip_jax.errors import InputError
from medslip_jax.evaluation.scoring import jit_score_step
from medslip_jax.experiment import load_config, read
from medslip_jax.parallel import sharding
from medslip_jax.pretraining import training_source
from medslip_jax.step.train_step import eval_variables, jit_init
from medslip_jax.training.setup import loader_options

MESH = sharding.make_mesh()


def size_of(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_program_from_shapes_is_the_one_that_runs(decay, tiny_run):
    tiny_run.optim.ema_decay = decay
    experiment = read(tiny_run)
    step = step_of(experiment, mesh=MESH)
    lowered, held = lower_evaluation(experiment, step, mesh=MESH)

    source = training_source(experiment.data)
    options = loader_options(experiment.data, batch_size=experiment.eval.batch_size, workers=0)
    loader = Loader(source, train=False, **options)
    batch = sharding.put_batch(MESH, next(iter(loader)))
    loader.close()
    state = jax.eval_shape(jit_init(step.parts, MESH, image_size=step.image_size))
    placed = jax.tree.map(
        lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
        state,
        sharding.state_sharding(MESH, state),
    )
    assert lowered.as_text() == jit_score_step(step.parts, MESH).lower(eval_variables(placed), batch).as_text()
    # Averages are read in place of the parameters, which stay.
    rest = (state.params, state.batch_stats) if decay else ()
    assert held == size_of((state.step, state.opt_state, rest))


@pytest.mark.parametrize("file", ["finetune_classification.py", "finetune_segmentation.py"])
def test_fine_tuning(file, tmp_path):
    config = load_config([f"--config={CONFIGS / file}:data=phantom,tiny"])
    config.data.dir = str(tmp_path)
    experiment = read(config)
    lowered, held = lower_evaluation(experiment, step_of(experiment, mesh=MESH), mesh=MESH)
    assert f"tensor<{experiment.eval.batch_size}x64x64xui8>" in lowered.as_text()
    assert held > 0


def test_a_batch_that_the_devices_do_not_share_is_refused(tiny_run):
    tiny_run.eval.batch_size = 0
    experiment = read(tiny_run)
    step = step_of(experiment, mesh=MESH)
    with pytest.raises(InputError, match=r"eval\.batch_size=0"):
        lower_evaluation(experiment, step, mesh=MESH)
