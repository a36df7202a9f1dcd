"""BatchNorm over the whole batch and over groups, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medslip_jax.models.layers import BatchNorm, batch_norm_groups

# Four images of one pixel and one channel.
X = jnp.array([1.0, 3.0, 10.0, 14.0]).reshape(4, 1, 1, 1)


class TwoNorms(nn.Module):
    @nn.compact
    def __call__(self, x, *, train: bool):
        return BatchNorm(name="second")(BatchNorm(name="first")(x, train=train) * 3, train=train)


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
    with batch_norm_groups(2):
        y, stats = applied(BatchNorm())
    # Means 2 and 12, biased variances 1 and 4, unbiased 2 and 8; the running ones get the groups' means, 7 and 5.
    np.testing.assert_allclose(y, [-1, 1, -1, 1], rtol=1e-5)
    np.testing.assert_allclose(stats["mean"], [0.7], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], [0.9 + 0.1 * 5], rtol=1e-6)


def test_groups_reach_norms_inside_modules_and_end_with_the_context():
    with batch_norm_groups(2):
        inside, _ = applied(TwoNorms())
    np.testing.assert_allclose(inside, [-1, 1, -1, 1], rtol=1e-4)
    outside, _ = applied(TwoNorms())
    assert abs(outside - inside).max() > 0.1


def test_groups_equal_each_group_alone():
    x = jax.random.normal(jax.random.key(1), (6, 3, 2, 5))
    with batch_norm_groups(3):
        y, _ = applied(BatchNorm(), x)
    alone = np.concatenate([applied(BatchNorm(), x[i : i + 2])[0] for i in (0, 2, 4)])
    np.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)


def test_evaluation_knows_no_groups_and_a_batch_must_divide():
    variables = BatchNorm().init(jax.random.key(0), X, train=False)
    with batch_norm_groups(2):
        np.testing.assert_allclose(BatchNorm().apply(variables, X, train=False), X, rtol=1e-4)
    with batch_norm_groups(3), pytest.raises(ValueError, match="4 images in 3 groups"):
        BatchNorm().apply(variables, X, train=True, mutable=["batch_stats"])
