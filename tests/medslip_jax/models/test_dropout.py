"""Masks: their rate, their independence, and that they do not depend on how an array is split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medslip_jax.models.dropout import Dropout, _mix, keep_mask
from medslip_jax.parallel import sharding


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_kept(rate):
    n = 1_000_000
    kept = int(keep_mask(jax.random.key(3), (1000, 1000), rate=rate).sum())
    assert abs(kept - n * (1 - rate)) < 4 * np.sqrt(n * rate * (1 - rate))


def test_masks_of_keys_and_neighbours_are_independent():
    """Correlations of 100,000 pairs have a standard deviation of 0.0032."""
    masks = [np.asarray(keep_mask(jax.random.fold_in(jax.random.key(0), i), (100_000,), rate=0.5)) for i in range(12)]
    between = np.corrcoef(np.stack(masks).astype(float))
    assert np.abs(between - np.eye(12)).max() < 0.016
    for lag in (1, 2, 3, 64, 196, 256, 1024):
        for mask in masks[:4]:
            assert abs(np.corrcoef(mask[:-lag], mask[lag:])[0, 1]) < 0.016, lag


def test_each_bit_of_a_position_changes_half_of_the_bits():
    x = np.random.default_rng(0).integers(0, 2**32, 20_000, np.uint32)
    base = np.asarray(_mix(jnp.asarray(x)))
    for bit in range(32):
        flipped = np.asarray(_mix(jnp.asarray(x ^ np.uint32(1 << bit)))) ^ base
        changed = np.unpackbits(flipped.view(np.uint8)).reshape(len(x), 32).mean(axis=0)
        assert np.abs(changed - 0.5).max() < 0.03, bit


def test_the_mean_stays_and_evaluation_is_untouched():
    x = jnp.ones((200, 500))
    layer, rngs = Dropout(0.1), {"dropout": jax.random.key(1)}
    y = layer.apply({}, x, train=True, rngs=rngs)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.9)}
    assert abs(float(y.mean()) - 1) < 0.005
    assert (layer.apply({}, x, train=False) == x).all()
    assert (Dropout(0.0).apply({}, x, train=True) == x).all()


@pytest.mark.parametrize("key", [jax.random.key(7), jax.random.PRNGKey(7), jax.random.key(7, impl="rbg")])
def test_any_kind_of_key(key):
    assert 60 < int(keep_mask(key, (100,), rate=0.2).sum()) < 95


def test_a_split_array_gets_the_same_mask():
    mesh = sharding.make_mesh()
    split = jax.jit(
        lambda: keep_mask(jax.random.key(5), (16, 24), rate=0.3), out_shardings=sharding.batch_sharding(mesh)
    )
    assert (np.asarray(split()) == np.asarray(keep_mask(jax.random.key(5), (16, 24), rate=0.3))).all()


def test_a_batch_of_a_whole_pod():
    """256 chips with 256 images each: 5.0e9 elements, drawn in blocks. Here a corner of that mask."""
    shape, corner = (65_536, 75, 1024), (6, 75, 1024)
    part = jax.jit(lambda: jax.lax.slice(keep_mask(jax.random.key(2), shape, rate=0.5), (0, 0, 0), corner))
    assert part.lower().compile().memory_analysis().temp_size_in_bytes < 1e9  # no whole mask in between
    mask = np.asarray(part()).reshape(6, -1)
    assert np.abs(mask.mean(axis=1) - 0.5).max() < 5 * 0.5 / np.sqrt(75 * 1024)
    between = np.corrcoef(mask.astype(float)) - np.eye(6)
    assert np.abs(between).max() < 5 / np.sqrt(75 * 1024)


def test_positions_that_would_repeat_are_refused():
    for shape in ((2**33,), (2**17, 2**16, 2**30)):
        with pytest.raises(ValueError, match="more elements than 32 bits"):
            jax.eval_shape(lambda shape=shape: keep_mask(jax.random.key(0), shape, rate=0.1))
