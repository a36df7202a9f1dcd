"""Which parts of a pre-trained model a fine-tuning model takes over, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_weights import state_of

from medslip_jax.errors import InputError
from medslip_jax.models import ClassifierConfig, SegmenterConfig
from medslip_jax.models.kinds import initial_variables, make_module
from medslip_jax.testing import tiny_config
from medslip_jax.weights.torch.conversion import flatten, from_torch
from medslip_jax.weights.transfer import fine_tuning_variables, fit

SMALL = {"backbone": "resnet18", "trunk_width": 8}
BLOCK = {"mask_generator", "patch_hidden_pathology", "patch_out_pathology", "patch_hidden_anatomy", "patch_out_anatomy"}
NORMS = {"patch_norm_pathology", "patch_norm_anatomy"}
SOURCES = {
    "dual": tiny_config(),
    "single stream": tiny_config(streams="pathology"),
    "mask off": tiny_config(mask_activation="off"),
    "patch norm": tiny_config(patch_norm="layer_norm"),
    "two projections": tiny_config(share_query_projection=False),
}
PLAIN = ClassifierConfig(**SMALL, num_classes=3)
UNET = SegmenterConfig(**SMALL)


def disentangled(**changes) -> ClassifierConfig:
    return ClassifierConfig(**SMALL, disentangle="pathology", embed_dim=16, **changes)


@functools.cache
def initial(config, *, seed: int) -> dict:
    return jax.device_get(initial_variables(config, seed=seed))


def variables_of(config) -> dict:
    return from_torch(state_of(config), config)


def top(path: str) -> str:
    """params/trunk/layer4_0/bn1/scale -> trunk/layer4, params/up_0/... -> up."""
    parts = path.split("/")[1:]
    return "trunk/layer4" if parts[1].startswith("layer4") else parts[0].rstrip("_0123")


def agreement(got: dict, source: dict, config) -> dict[str, set[str]]:
    """The parts whose leaves are the source's to the bit, and those with the initial values of the seed."""
    flat, old, new = (flatten(tree) for tree in (got, source, initial(config, seed=5)))
    assert flat.keys() == new.keys()
    taken = {path for path in flat if path in old and np.array_equal(flat[path], old[path])}
    fresh = {path for path in flat if path not in old and np.allclose(flat[path], new[path], rtol=1e-5, atol=1e-7)}
    assert taken | fresh == flat.keys(), sorted(flat.keys() - taken - fresh)
    return {"taken": {top(path) for path in taken}, "fresh": {top(path) for path in fresh}}


# (source, target) -> what is taken over; the rest of the target is new.
TAKEN = {
    **{(name, "plain"): (PLAIN, {"trunk"}) for name in SOURCES},
    **{(name, "unet"): (UNET, {"trunk"}) for name in ("dual", "single stream")},
    ("dual", "disentangled"): (disentangled(), {"trunk"} | BLOCK),
    ("two projections", "disentangled"): (disentangled(), {"trunk"} | BLOCK),
    ("mask off", "disentangled"): (disentangled(mask_activation="off"), {"trunk"} | BLOCK - {"mask_generator"}),
    ("patch norm", "disentangled"): (disentangled(patch_norm="layer_norm"), {"trunk"} | BLOCK | NORMS),
}
FRESH = {
    "plain": {"trunk/layer4", "head"},
    "unet": {"bridge", "up", "head"},
    "disentangled": {"layer4", "back", "head"},
}


@pytest.mark.parametrize("pair", TAKEN, ids=" -> ".join)
def test_what_is_taken_and_what_is_new(pair):
    config, taken = TAKEN[pair]
    source = variables_of(SOURCES[pair[0]])
    result = fine_tuning_variables(source, config, seed=5)
    assert agreement(result["variables"], source, config) == {"taken": taken, "fresh": FRESH[pair[1]]}
    # Whatever stays behind is said, and nothing of it belongs to the target.
    left = set(result["report"].unexpected)
    assert {path for path in left if path.startswith("params/decoder_")}
    assert left == flatten(source).keys() - flatten(result["variables"]).keys()


def test_another_seed_gives_other_new_parts():
    source = variables_of(SOURCES["dual"])
    one, two = (flatten(fine_tuning_variables(source, PLAIN, seed=seed)["variables"]) for seed in (0, 1))
    differ = {path for path in one if not np.array_equal(one[path], two[path])}
    assert {top(path) for path in differ} == FRESH["plain"]


REFUSED = {
    "width": ("dual", ClassifierConfig(backbone="resnet18", trunk_width=4), r"shape mismatch .*params/trunk/\S+ \(.*8"),
    "backbone": ("dual", ClassifierConfig(trunk_width=8), r"missing .*params/trunk/layer1_0/\S*(conv3|bn3|downsample)"),
    "backbone of a U-Net": ("dual", SegmenterConfig(trunk_width=8), r"missing .*params/trunk/layer1_0/"),
    "block of a single stream": ("single stream", disentangled(), r"missing .*params/mask_generator/"),
    "mask": ("mask off", disentangled(), r"2 missing \(params/mask_generator/bias; params/mask_generator/kernel\)"),
    "mask not wanted": ("dual", disentangled(mask_activation="off"), r"2 unexpected \(params/mask_generator/"),
    "norm not wanted": ("patch norm", disentangled(), r"4 unexpected \(params/patch_norm_"),
    "norm": ("dual", disentangled(patch_norm="layer_norm"), r"4 missing \(params/patch_norm_"),
    "embed_dim": (
        "dual",
        ClassifierConfig(**SMALL, disentangle="pathology", embed_dim=24),
        r"params/patch_out_anatomy/kernel \(32, 16\), expected \(32, 24\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_model_is_refused_by_name(case):
    source, config, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as error:
        fine_tuning_variables(variables_of(SOURCES[source]), config)
    assert "\n" not in str(error.value)


def test_a_damaged_trunk_is_not_filled_up_silently():
    source = variables_of(SOURCES["dual"])
    del source["params"]["trunk"]["conv1"]
    with pytest.raises(InputError, match=r"1 missing \(params/trunk/conv1/kernel\)"):
        fine_tuning_variables(source, PLAIN)


@pytest.mark.parametrize("config", [disentangled(), UNET], ids=["disentangled", "unet"])
def test_fine_tuning_can_start(config):
    variables = fine_tuning_variables(variables_of(SOURCES["dual"]), config)["variables"]
    module, optimizer = make_module(config), optax.adamw(1e-3)
    image = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)

    @jax.jit
    def step(variables, opt_state):
        def loss_fn(params):
            out, updated = module.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                image,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
            return optax.sigmoid_binary_cross_entropy(out, jnp.ones_like(out)).mean(), updated["batch_stats"]

        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grads, opt_state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), "batch_stats": stats}, opt_state, loss

    after, opt_state, first = step(variables, optimizer.init(variables["params"]))
    old, new = flatten(variables), flatten(jax.device_get(after))
    assert [path for path in old if np.array_equal(old[path], new[path])] == []
    _, _, second = step(after, opt_state)
    assert second < first


# fit


def test_fit_of_the_same_model_takes_everything():
    source = variables_of(SOURCES["dual"])
    result = fit(source, SOURCES["dual"])
    assert flatten(result["variables"]).keys() == flatten(source).keys()
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, result["variables"], source)))
    assert not result["report"].unfilled


def test_fit_fills_what_is_excused():
    small, wider = (tiny_config(streams="pathology", decoder_layers=n, decoder_ffn_dim=16 * n) for n in (1, 2))
    source = variables_of(small)
    with pytest.raises(InputError, match=r"variables: \d+ missing \(params/decoder_\S+/layer_1"):
        fit(source, wider)
    result = fit(source, wider, excuse=["params/decoder_*/layer_*"], seed=5)
    parts = agreement_by_shape(result["variables"], source, wider)
    assert all(path.startswith("params/decoder_") for path in parts["fresh"])
    assert {path.split("/")[3] for path in parts["fresh"] if "/layer_0/" in path} == {"linear1", "linear2"}
    assert "params/decoder_pathology/layer_0/norm1/norm/scale" in parts["taken"]


def agreement_by_shape(got: dict, source: dict, config) -> dict[str, set[str]]:
    """Leaves that are the source's, and the others, which must have the seed's initial values."""
    flat, old, new = (flatten(tree) for tree in (got, source, initial(config, seed=5)))
    taken = {path for path in flat if path in old and np.array_equal(flat[path], old[path])}
    fresh = {path for path in flat.keys() - taken if np.allclose(flat[path], new[path], rtol=1e-5, atol=1e-7)}
    assert taken | fresh == flat.keys() == new.keys()
    return {"taken": taken, "fresh": fresh}


def test_fit_refuses_an_idle_excuse():
    # A typo in a pattern would otherwise pass unnoticed.
    with pytest.raises(InputError, match=r"nothing to excuse is called params/decodr_\*; all other names fit"):
        fit(variables_of(SOURCES["dual"]), SOURCES["dual"], excuse=["params/decodr_*"])
