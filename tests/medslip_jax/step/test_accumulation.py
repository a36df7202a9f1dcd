"""A batch in parts, and a trunk that computes anew: the gradients of the plain step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.finetuning.step import FineTuner
from medslip_jax.models.config import ClassifierConfig, SegmenterConfig
from medslip_jax.step.losses import draw_all_negatives
from medslip_jax.step.train_step import Trainer, _gradients, init_state
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config


class GivenNegatives(Trainer):
    """Negatives come with the rows, so that rows can change places."""

    def whole_batch(self, batch, key):
        given, counts = super().whole_batch(batch, key)
        return given | {"negatives": batch["negatives"]}, counts


def trainer_of(kind: type = GivenNegatives, *, optim: OptimConfig = OptimConfig(), groups: int = 1, **model) -> Trainer:
    return kind(
        model=tiny_config(dropout=0.0, **model),
        loss=LossConfig(alpha=0.7, beta=1.3),
        optim=optim,
        books=tiny_books(),
        num_steps=4,
        steps_per_epoch=2,
        norm_groups=groups,
    )


@pytest.fixture(scope="module")
def batch() -> dict:
    batch = synthetic_batch(8, image_size=32)
    # Parts with different numbers of entries: a mean of their means would be another loss.
    batch["matrix"][0::2] = np.where(np.arange(75) < 40, -1, batch["matrix"][0::2])
    return batch | {"negatives": jax.device_get(draw_all_negatives(jax.random.key(5), jnp.asarray(batch["matrix"])))}


def gradients(trainer: Trainer, batch: dict) -> tuple[float, dict, dict]:
    state = init_state(trainer, image_size=32)
    (total, (terms, _)), grads = jax.jit(lambda state, batch: _gradients(trainer, state, batch))(state, batch)
    return float(total), jax.device_get(terms), jax.device_get(grads)


def check_equal(got: tuple, want: tuple) -> None:
    assert got[0] == pytest.approx(want[0], rel=1e-6)
    assert {k: float(v) for k, v in got[1].items()} == pytest.approx(
        {k: float(v) for k, v in want[1].items()}, rel=1e-5
    )
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got[2]), jax.tree.leaves(want[2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6, err_msg=jax.tree_util.keystr(path))


def test_two_parts_are_the_batch_whose_halves_have_their_own_statistics(batch):
    in_parts = gradients(trainer_of(optim=OptimConfig(accumulate=2)), batch)
    # Part i has rows i, i + 2, ...; as groups are of consecutive images, those of a part are put together.
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    together = jax.tree.map(lambda x: x[order], batch)
    check_equal(in_parts, gradients(trainer_of(groups=2), together))
    whole = gradients(trainer_of(), batch)
    assert in_parts[0] == pytest.approx(whole[0], rel=0.05) and in_parts[0] != whole[0]


def test_computing_anew_changes_no_gradient(batch):
    check_equal(gradients(trainer_of(remat="blocks"), batch), gradients(trainer_of(), batch))


def test_computing_anew_is_in_the_program(batch):
    def program(remat: str) -> str:
        trainer = trainer_of(remat=remat)
        state = jax.eval_shape(lambda: init_state(trainer, image_size=32))
        return str(jax.make_jaxpr(lambda state, batch: _gradients(trainer, state, batch))(state, batch))

    # layer1 .. layer3 of the small ResNet have two blocks each.
    assert [program(remat).count("prevent_cse") for remat in ("none", "blocks")] == [0, 6]


def test_a_classifier_in_parts():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (8, 3)).astype(np.int8)
    batch = {"image": rng.integers(0, 256, (8, 32, 32), np.uint8), "labels": labels}

    def tuner(accumulate: int) -> FineTuner:
        model = ClassifierConfig(backbone="resnet18", trunk_width=8, num_classes=3, last_stage="layer3")
        optim = OptimConfig(accumulate=accumulate)
        # Frozen parts keep their statistics, so nothing at all differs.
        return FineTuner(model=model, tune="head", optim=optim, num_steps=1, steps_per_epoch=1)

    check_equal(gradients(tuner(4), batch), gradients(tuner(1), batch))


def test_what_does_not_add_up_is_refused():
    with pytest.raises(InputError, match=r"optim\.accumulate: the soft Dice loss"):
        FineTuner(model=SegmenterConfig(), optim=OptimConfig(accumulate=2), num_steps=1, steps_per_epoch=1)
    with pytest.raises(InputError, match=r"optim\.accumulate=0"):
        OptimConfig(accumulate=0)
    assert dataclasses.replace(OptimConfig(), accumulate=3).accumulate == 3
