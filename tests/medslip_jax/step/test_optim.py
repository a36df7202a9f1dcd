import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medslip_jax.experiment.sections import OptimConfig
from medslip_jax.step.optim import decay_mask, make_optimizer, make_schedule, released_schedule, update_ema


def test_released_schedule_is_the_published_one(golden):
    steps, rates = golden("metrics")["lr_steps_3000_per_epoch"].T
    schedule = released_schedule(3000)
    got = np.asarray(schedule(jnp.asarray(steps, jnp.int32)), np.float64)
    np.testing.assert_allclose(got, rates, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.0), (50, 0.5), (100, 1.0), (600, 0.55), (1100, 0.1), (2000, 0.1)])
def test_warmup_cosine(step, rate):
    config = OptimConfig(schedule="warmup_cosine", learning_rate=1.0, final_learning_rate=0.1, warmup_steps=100)
    schedule = make_schedule(config, num_steps=1100, steps_per_epoch=10)
    np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)


def test_weight_decay_spares_biases_and_norms():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "scale": jnp.ones(3)}
    assert decay_mask(params) == {"kernel": True, "bias": False, "scale": False}
    optimizer = make_optimizer(OptimConfig(weight_decay=0.5), lambda step: 0.1)
    zero = {name: jnp.zeros_like(p) for name, p in params.items()}
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    # with a zero gradient only decay moves a parameter: -0.1 * 0.5 * 1
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    assert not updates["bias"].any()
    assert not updates["scale"].any()


def test_clipping_limits_the_global_norm():
    params = {"a": jnp.zeros(3), "b": jnp.zeros(4)}
    clipped = make_optimizer(OptimConfig(clip_norm=1.0, eps=1.0), lambda step: 1.0)
    plain = make_optimizer(OptimConfig(eps=1.0), lambda step: 1.0)
    large = {"a": jnp.full(3, 30.0), "b": jnp.full(4, 40.0)}
    norm = optax.global_norm(large)
    by_hand = {name: g / norm for name, g in large.items()}
    got, _ = clipped.update(large, clipped.init(params), params)
    want, _ = plain.update(by_hand, plain.init(params), params)
    np.testing.assert_allclose(got["a"], want["a"], rtol=1e-5)
    np.testing.assert_allclose(got["b"], want["b"], rtol=1e-5)


def test_ema_starts_fast_and_ends_slow():
    first = update_ema({"w": jnp.array(0.0)}, {"w": jnp.array(1.0)}, decay=0.99, step=jnp.array(0))
    late = update_ema({"w": jnp.array(0.0)}, {"w": jnp.array(1.0)}, decay=0.99, step=jnp.array(100_000))
    np.testing.assert_allclose(first["w"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(late["w"], 0.01, rtol=1e-4)


def test_muon_moves_every_direction_of_a_matrix_alike():
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.zeros((3, 3, 4, 8)), "bias": jnp.zeros(8)}
    grads = {name: jnp.asarray(rng.standard_normal(p.shape, np.float32)) for name, p in params.items()}
    muon = make_optimizer(OptimConfig(optimizer="muon", weight_decay=0.0), lambda step: 0.1)
    nadamw = optax.nadamw(0.1, weight_decay=0.0)
    updates, _ = muon.update(grads, muon.init(params), params)
    plain, _ = nadamw.update(grads, nadamw.init(params), params)
    np.testing.assert_allclose(updates["bias"], plain["bias"], rtol=1e-6)
    # Newton-Schulz leaves singular values within a third of 1, and a gradient's are a factor of two apart; 0.2 of the
    # longer side's root makes the update's root mean square that of AdamW's.
    values = np.linalg.svd(np.asarray(updates["kernel"]).reshape(36, 8), compute_uv=False) / (0.1 * 0.2 * 36**0.5)
    assert values.min() > 0.6 and values.max() < 1.35
    before = np.linalg.svd(np.asarray(grads["kernel"]).reshape(36, 8), compute_uv=False)
    assert before.max() / before.min() > 1.5 * values.max() / values.min()
    assert (np.asarray(updates["kernel"]) * np.asarray(grads["kernel"])).sum() < 0


def test_muon_decays_matrices_only():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    optimizer = make_optimizer(OptimConfig(optimizer="muon", weight_decay=0.5), lambda step: 0.1)
    zero = {name: jnp.zeros_like(p) for name, p in params.items()}
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    assert not updates["bias"].any()


@pytest.mark.torch
def test_adamw_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    start = {"kernel": rng.standard_normal((4, 3), np.float32), "bias": rng.standard_normal(3, np.float32)}
    grads = [{name: rng.standard_normal(x.shape, np.float32) for name, x in start.items()} for _ in range(20)]
    theirs = {name: torch.nn.Parameter(torch.tensor(x)) for name, x in start.items()}
    groups = [
        {"params": [theirs["kernel"]], "weight_decay": 0.02},
        {"params": [theirs["bias"]], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.999), eps=1e-8)
    optimizer = make_optimizer(OptimConfig(), lambda step: 1e-2)
    ours, opt_state = start, optimizer.init(start)
    for grad in grads:
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(grad[name])
        reference.step()
        updates, opt_state = optimizer.update(grad, opt_state, ours)
        ours = optax.apply_updates(ours, updates)
    for name, parameter in theirs.items():
        np.testing.assert_allclose(ours[name], parameter.detach().numpy(), rtol=1e-5, atol=1e-6)
