import jax
import jax.numpy as jnp
import numpy as np
import pytest
from segmentation_reference import dice_bce, segmentation_report

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.segmentation import overlap_report
from medslip_jax.experiment.sections import OptimConfig
from medslip_jax.finetuning.step import FineTuner, bce, jit_judge_step, soft_dice_loss
from medslip_jax.models.config import ClassifierConfig, SegmenterConfig
from medslip_jax.parallel.sharding import make_mesh
from medslip_jax.step.train_step import init_state, train_step
from medslip_jax.weights.torch.conversion import flatten

SMALL = {"backbone": "resnet18", "trunk_width": 4}
OPTIM = OptimConfig(schedule="constant", learning_rate=1e-2, weight_decay=0.1)


def tuner(model, tune="full") -> FineTuner:
    return FineTuner(model=model, tune=tune, optim=OPTIM, num_steps=5, steps_per_epoch=5)


def batch(size: int = 4, *, classes: int = 2) -> dict:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (size, 32, 32), dtype=np.uint8),
        "labels": rng.integers(-1, 2, (size, classes)).astype(np.int8),
        "masks": rng.integers(0, 2, (size, 32, 32, classes), dtype=np.uint8),
    }


def test_bce_of_a_hand_worked_batch_leaves_unknown_labels_out():
    logits = jnp.array([[0.0, 100.0], [np.log(3.0), -50.0]])
    labels = jnp.array([[1, -1], [0, -1]], jnp.int8)
    # -log(1/2) and -log(1 - 3/4)
    assert float(bce(logits, labels)) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    assert float(bce(logits, jnp.full((2, 2), -1))) == 0.0


def test_soft_dice_of_a_hand_worked_batch():
    masks = jnp.array([[[[1], [0]]], [[[0], [0]]]])
    # Probabilities 1/2 everywhere: I = 1/2, S = 2 + 1.
    assert float(soft_dice_loss(jnp.zeros((2, 1, 2, 1)), masks)) == pytest.approx(1 - 2 / 4, rel=1e-6)
    # Nothing there and nothing said: no loss.
    empty = soft_dice_loss(jnp.full((2, 1, 2, 1), -40.0), jnp.zeros((2, 1, 2, 1)))
    assert float(empty) == pytest.approx(0.0, abs=1e-6)


def test_the_segmentation_loss_is_that_of_the_metrics():
    rng = np.random.default_rng(1)
    logits, masks = rng.normal(size=(3, 8, 8, 1)).astype(np.float32), rng.integers(0, 2, (3, 8, 8, 1))
    ours = float(bce(jnp.asarray(logits), jnp.asarray(masks)) + soft_dice_loss(jnp.asarray(logits), jnp.asarray(masks)))
    assert ours == pytest.approx(dice_bce(logits, masks=masks), rel=1e-6)


MODELS = {
    "full": (ClassifierConfig(num_classes=2, **SMALL), ()),
    "last_blocks": (
        ClassifierConfig(num_classes=2, **SMALL),
        ("trunk/conv1", "trunk/bn1", "trunk/layer1", "trunk/layer3"),
    ),
    "head": (ClassifierConfig(num_classes=2, last_stage="layer3", **SMALL), ("trunk",)),
    "last_blocks with the block": (
        ClassifierConfig(num_classes=2, disentangle="pathology", embed_dim=8, **SMALL),
        ("trunk",),
    ),
    "last_blocks of a U-Net": (SegmenterConfig(num_classes=2, **SMALL), ("trunk",)),
}


@pytest.mark.parametrize("case", MODELS)
def test_frozen_parts_keep_weights_and_statistics_and_the_others_learn(case):
    model, frozen = MODELS[case]
    t = tuner(model, case.split()[0])
    before = init_state(t, image_size=32)
    after, metrics = jax.jit(lambda state, b: train_step(t, state, b))(before, batch())
    assert np.isfinite(float(metrics["loss"]))
    for key in ("params", "batch_stats"):
        old, new = flatten(getattr(before, key)), flatten(getattr(after, key))
        for path, value in old.items():
            same = np.array_equal(value, new[path])
            assert same == path.startswith(frozen) if frozen else not same or value.size == 0, (key, path)


def test_a_probe_reads_what_pre_training_ends_with():
    with pytest.raises(InputError, match=r"--config\.model\.last_stage=layer3"):
        tuner(ClassifierConfig(**SMALL), "head")
    with pytest.raises(InputError, match="tune='top'"):
        tuner(ClassifierConfig(**SMALL), "top")
    with pytest.raises(InputError, match="last_stage"):
        ClassifierConfig(last_stage="layer3", disentangle="pathology", **SMALL)


def test_areas_of_the_device_are_those_of_the_metric():
    t, mesh = tuner(SegmenterConfig(num_classes=2, **SMALL)), make_mesh(devices=jax.devices()[:1])
    state, given = init_state(t, image_size=32), batch()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    given |= {"index": np.arange(4), "valid": np.ones(4, bool)}
    rows = jax.device_get(jit_judge_step(t, mesh)(variables, given))["rows"]
    from medslip_jax.models.kinds import make_module
    from medslip_jax.step.train_step import normalise

    logits = make_module(t.model).apply(variables, normalise(jnp.asarray(given["image"])))
    probability = np.asarray(jax.nn.sigmoid(logits))
    for k in range(2):
        expected = segmentation_report(probability[..., k], masks=given["masks"][..., k])
        areas = {name: rows[name][:, k] for name in ("intersection", "said", "true")}
        assert overlap_report(**areas) == expected
