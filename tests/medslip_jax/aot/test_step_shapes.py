import numpy as np
import pytest
from places import CONFIGS
from trainers import trainer_of

from medslip_jax import experiment
from medslip_jax.aot.step_shapes import step_of
from medslip_jax.errors import InputError
from medslip_jax.experiment import read
from medslip_jax.finetuning import make_tuner
from medslip_jax.parallel.sharding import make_mesh

MESH = make_mesh()


def test_a_run_on_built_data_is_the_run_itself(tiny_run):
    step = step_of(read(tiny_run), mesh=MESH)
    trainer = trainer_of(tiny_run, num_images=24)
    assert step.notes == ()
    assert step.parts.steps_per_epoch == trainer.steps_per_epoch == 3
    assert (step.parts.model, step.parts.optim, step.parts.num_steps) == (trainer.model, trainer.optim, 6)
    np.testing.assert_array_equal(step.parts.books.pathology, trainer.books.pathology)
    assert step.batch == {"image": ((32, 32), "uint8"), "matrix": ((51, 75), "int8")}


def test_what_is_not_here_is_replaced_and_said(tmp_path):
    config = experiment.load_config([f"--config={CONFIGS / 'pretrain_mimic.py'}:bf16"])
    config.data.dir, config.books.path = str(tmp_path), str(tmp_path / "none.npz")
    step = step_of(read(config), mesh=MESH)
    assert len(step.notes) == 2
    assert step.notes[0].startswith(f"{tmp_path / 'mimic_cxr'}: no built data set")
    assert "--config.data.train_images" in step.notes[0]
    assert "none.npz is not here: random text tables of width 768" in step.notes[1]
    assert step.parts.books.width == 768
    assert config.books.path == str(tmp_path / "none.npz")
    config.data.train_images = 6400
    step = step_of(read(config), mesh=MESH)
    assert (step.parts.steps_per_epoch, len(step.notes)) == (100, 1)


def test_why_the_images_are_not_counted_is_said(tiny_run):
    tiny_run.data.mixture = "phantom"
    assert "'phantom' is not NAME=WEIGHT" in step_of(read(tiny_run), mesh=MESH).notes[0]


def test_tables_of_another_width_are_still_an_error(tiny_run):
    tiny_run.model.text_dim = 12
    with pytest.raises(InputError, match="text_dim=12"):
        step_of(read(tiny_run), mesh=MESH)


@pytest.mark.parametrize(
    ("file", "key", "shape"),
    [
        ("finetune_classification.py", "labels", ((8,), "int8")),
        ("finetune_segmentation.py", "masks", ((64, 64, 2), "uint8")),
    ],
)
def test_fine_tuning(file, key, shape, phantom_data, tmp_path):
    config = experiment.load_config([f"--config={CONFIGS / file}:data=phantom,tiny"])
    config.data.dir = str(tmp_path)
    step = step_of(read(config), mesh=MESH)
    assert step.batch["image"] == ((64, 64), "uint8")
    assert step.batch[key] == shape
    assert "schedule" in step.notes[0]
    config.data.dir = str(phantom_data)
    step = step_of(read(config), mesh=MESH)
    assert step.notes == ()
    tuner = make_tuner(read(config), num_images=24)
    assert step.parts.model == tuner.model
