"""BatchNorm over the whole batch and over groups, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medslip_jax.models import ClassifierConfig, SegmenterConfig
from medslip_jax.models.kinds import fields_of, initial_variables, kind_of, make_module
from medslip_jax.models.layers import BatchNorm
from medslip_jax.testing import tiny_config

# Four images of one pixel and one channel.
X = jnp.array([1.0, 3.0, 10.0, 14.0]).reshape(4, 1, 1, 1)


def applied(module: nn.Module, x=X) -> tuple[np.ndarray, dict]:
    variables = module.init(jax.random.key(0), x, train=True)
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
    return np.asarray(y).ravel(), updated["batch_stats"]


def test_whole_batch():
    y, stats = applied(BatchNorm())
    # Mean 7, biased variance (36 + 16 + 9 + 49) / 4 = 27.5, unbiased 110 / 3.
    np.testing.assert_allclose(y, (X.ravel() - 7) / np.sqrt(27.5 + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(stats["mean"], [0.7], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], [0.9 + 0.1 * 110 / 3], rtol=1e-6)


def test_two_groups():
    y, stats = applied(BatchNorm(2))
    # Means 2 and 12, biased variances 1 and 4, unbiased 2 and 8; the running ones get the groups' means, 7 and 5.
    np.testing.assert_allclose(y, [-1, 1, -1, 1], rtol=1e-5)
    np.testing.assert_allclose(stats["mean"], [0.7], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], [0.9 + 0.1 * 5], rtol=1e-6)


def test_groups_equal_each_group_alone():
    x = jax.random.normal(jax.random.key(1), (6, 3, 2, 5))
    y, _ = applied(BatchNorm(3), x)
    alone = np.concatenate([applied(BatchNorm(), x[i : i + 2])[0] for i in (0, 2, 4)])
    np.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)


def test_evaluation_knows_no_groups_and_a_batch_must_divide():
    variables = BatchNorm().init(jax.random.key(0), X, train=False)
    np.testing.assert_allclose(BatchNorm(2).apply(variables, X, train=False), X, rtol=1e-4)
    with pytest.raises(ValueError, match="4 images in 3 groups"):
        BatchNorm(3).apply(variables, X, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize(
    "config",
    [
        tiny_config(dropout=0.0),
        ClassifierConfig(backbone="resnet18", trunk_width=4, num_classes=2),
        ClassifierConfig(backbone="resnet18", trunk_width=4, disentangle="pathology", embed_dim=8),
        SegmenterConfig(backbone="resnet18", trunk_width=4, dropout=0.0, remat="blocks"),
    ],
    ids=["medslip", "classifier", "disentangled", "segmenter"],
)
def test_groups_reach_every_norm_of_a_model(config):
    image = jax.random.normal(jax.random.key(1), (4, 64, 64, 3))
    books = [jax.random.normal(jax.random.key(2), (3, config.text_dim))] * 2 if kind_of(config) == "medslip" else []
    variables = initial_variables(config)

    def trained(groups: int, image) -> list[np.ndarray]:
        module = make_module(config, norm_groups=groups)
        out = jax.jit(lambda image: module.apply(variables, image, *books, train=True, mutable=["batch_stats"])[0])
        return jax.tree.leaves(jax.device_get(out(image)))

    halves = [np.concatenate(pair) for pair in zip(trained(1, image[:2]), trained(1, image[2:]), strict=True)]
    for got, want in zip(trained(2, image), halves, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
    assert any(np.abs(a - b).max() > 0.01 for a, b in zip(trained(1, image), halves, strict=True))
    assert "norm_groups" not in fields_of(config)
