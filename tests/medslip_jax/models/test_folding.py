"""BatchNorm folded into convolutions: the same outputs from fewer arrays and operations."""

import copy
import math

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.models import ClassifierConfig, MeDSLIPConfig, SegmenterConfig
from medslip_jax.models.folding import fold
from medslip_jax.models.kinds import abstract_variables, make_module
from medslip_jax.models.layers import BatchNorm, Conv, PointwiseConv
from medslip_jax.testing import tiny_books, tiny_config

# config -> how many BatchNorms it has: 1 of the stem, then 3 a bottleneck or 2 a block, 1 a changed shape; U-Net 2 + 8
MODELS = {
    "resnet18": (tiny_config(), 1 + 2 * 6 + 2),
    "resnet50": (tiny_config(backbone="resnet50"), 1 + 3 * 13 + 3),
    "classifier": (ClassifierConfig(backbone="resnet50", trunk_width=8, num_classes=3), 1 + 3 * 16 + 4),
    "disentangled": (ClassifierConfig(backbone="resnet18", trunk_width=8, disentangle="pathology"), 1 + 2 * 8 + 3),
    "segmenter": (SegmenterConfig(backbone="resnet18", trunk_width=8, num_classes=2), 1 + 2 * 6 + 2 + 2 + 8),
}


class Pair(nn.Module):
    """A convolution and its BatchNorm; `size` 1 is a pointwise one."""

    size: int
    stride: int
    bias: str

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        options = {"dtype": "float32", "name": "conv1"}
        if self.size == 1:
            y = PointwiseConv(3, self.stride, **options)(x)
        else:
            y = Conv(3, self.size, self.stride, bias=self.bias, **options)(x)
        return BatchNorm(name="bn1")(y, train=train)


PAIR = {
    "params": {
        "conv1": {"kernel": np.array([[1.0, 2.0]], np.float32)},
        "bn1": {"scale": np.array([3.0, -1.0], np.float32), "bias": np.array([0.5, 0.25], np.float32)},
    },
    "batch_stats": {"bn1": {"mean": np.array([2.0, 4.0], np.float32), "var": np.array([4.0, 0.25], np.float32)}},
}


def test_by_hand():
    folded = fold(PAIR)
    # Gains 3 / 2 and -1 / 0.5, up to epsilon; shifts 0.5 - 2 * 1.5 and 0.25 + 4 * 2.
    np.testing.assert_allclose(folded["params"]["conv1"]["kernel"], [[1.5, -4.0]], rtol=1e-4)
    np.testing.assert_allclose(folded["params"]["bn1"]["shift"], [-2.5, 8.25], rtol=1e-4)
    leaves = traverse_util.flatten_dict(folded, sep="/")
    assert {name: x.dtype for name, x in leaves.items()} == {
        "params/conv1/kernel": np.float32,
        "params/bn1/shift": np.float32,
    }


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 3, 7]),
    stride=st.sampled_from([1, 2]),
    bias=st.sampled_from(["none", "torch"]),
    scale=st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3),
    mean=st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3),
    variance=st.lists(st.floats(-8, 4), min_size=3, max_size=3),
)
def test_a_pair_computes_the_same(seed, size, stride, bias, scale, mean, variance):
    pair, rng = Pair(size, stride, bias), np.random.default_rng(seed)
    x = rng.standard_normal((2, 6, 5, 2), np.float32)
    params = jax.device_get(pair.init(jax.random.key(seed), x))["params"]
    params["bn1"] = {"scale": np.float32(scale), "bias": rng.standard_normal(3, np.float32)}
    var = 10 ** np.float32(variance)
    variables = {"params": params, "batch_stats": {"bn1": {"mean": np.float32(mean), "var": var}}}
    want, got = pair.apply(variables, x), pair.apply(fold(variables), x)
    # What is added up may be larger than the sum.
    gain = np.abs(scale) / np.sqrt(var + 1e-5)
    terms = np.abs(params["conv1"]["kernel"]).sum((0, 1, 2) if size > 1 else 0) * np.abs(x).max() + np.abs(mean)
    terms += np.abs(params["conv1"].get("bias", 0))
    assert (np.abs(got - want).max((0, 1, 2)) <= 1e-6 * (gain * terms + 3)).all()


@pytest.mark.parametrize("name", MODELS)
def test_models_compute_the_same_with_less(name):
    config, norms = MODELS[name]
    variables, module = random_variables(config), make_module(config)
    before = copy.deepcopy(variables)
    folded = fold(variables)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    image = np.random.default_rng(1).standard_normal((2, 64, 64, 3), np.float32)
    inputs = (image, *tables(config))
    want, got = (jax.jit(module.apply)(v, *inputs) for v in (variables, folded))
    assert jax.tree.structure(want) == jax.tree.structure(got)
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        assert np.isfinite(a).all() and np.std(a) > 1e-3 * np.abs(a).max()  # so that there is something to differ
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.abs(a).max())
    assert set(folded) == {"params"}
    assert len(jax.tree.leaves(variables)) - len(jax.tree.leaves(folded)) == 3 * norms
    whole, less = (str(jax.make_jaxpr(module.apply)(v, *inputs)) for v in (variables, folded))
    assert whole.count(" rsqrt") - less.count(" rsqrt") == norms
    # Each norm also multiplies activations by its gain, its scale by the root and its mean by the gain.
    assert whole.count(" mul ") - less.count(" mul ") == 3 * norms


def test_a_folded_model_does_not_train():
    pair = Pair(1, 1, "none")
    with pytest.raises(ValueError, match="folded variables are for inference"):
        pair.apply(fold(variables_of(pair)), np.ones((1, 2, 2, 2)), train=True, mutable=["batch_stats"])


def test_all_else_is_handed_on_as_it_is():
    config = MODELS["resnet18"][0]
    variables = random_variables(config)
    given, got = (traverse_util.flatten_dict(v["params"], sep="/") for v in (variables, fold(variables)))
    kept = [name for name in given if not name.startswith("trunk/")]
    assert "decoder_norm/norm/scale" in kept and all(got[name] is given[name] for name in kept)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("params/conv1/kernel", None, "^bn1: BatchNorm without its convolution"),
        ("params/bn1/scale", None, "params/bn1/scale: missing, so BatchNorm cannot be folded"),
        ("batch_stats/bn1/var", None, "batch_stats/bn1/var: missing, so BatchNorm cannot be folded"),
        ("batch_stats/bn1/var", [1.0, -0.5], "batch_stats/bn1/var: a negative variance"),
        ("batch_stats/bn1/var", [1.0, math.inf], "batch_stats/bn1/var: NaN or infinite"),
        ("batch_stats/bn1/mean", [math.nan, 0.0], "batch_stats/bn1/mean: NaN or infinite"),
        ("params/bn1/bias", [math.nan, 0.0], "params/bn1/bias: NaN or infinite"),
        ("batch_stats/norm/mean", [0.0, 0.0], "^norm: BatchNorm without its convolution"),
    ],
)
def test_what_cannot_be_folded_is_named(path, value, message):
    leaves = traverse_util.flatten_dict(PAIR, sep="/")
    leaves = {name: x for name, x in leaves.items() if name != path}
    if value is not None:
        leaves[path] = np.array(value, np.float32)
    with pytest.raises(InputError, match=message) as caught:
        fold(traverse_util.unflatten_dict(leaves, sep="/"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["no statistics", "folded"])
def test_only_variables_of_training_are_folded(given):
    variables = fold(PAIR) if given == "folded" else {"params": PAIR["params"]}
    with pytest.raises(InputError, match="missing, so BatchNorm cannot be folded; give variables as training leaves"):
        fold(variables)


def variables_of(pair: Pair) -> dict:
    return jax.device_get(pair.init(jax.random.key(0), np.ones((1, 2, 2, 2))))


def random_variables(config) -> dict:
    """Kernels and gains that keep the size of activations, with scales of both signs and small variances."""
    rng = np.random.default_rng(0)
    shapes = traverse_util.flatten_dict(dict(abstract_variables(config)))
    var = {
        path[1:-1]: 10 ** rng.uniform(-3, 0.5, x.shape)
        for path, x in shapes.items()
        if path[0] == "batch_stats" and path[-1] == "var"
    }

    def leaf(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        x = rng.standard_normal(shape, np.float32)
        if path[0] == "batch_stats":
            return var[path[1:-1]] if path[-1] == "var" else 0.3 * x
        if path[-1] == "scale" and path[1:-1] in var:
            return 0.7 * np.sqrt(var[path[1:-1]]) * np.where(x > -0.5, 1, -1)
        return x * np.float32(0.1 if len(shape) == 1 else math.prod(shape[:-1]) ** -0.5)

    leaves = {path: np.asarray(leaf(path, x.shape), np.float32) for path, x in shapes.items()}
    return traverse_util.unflatten_dict(leaves)


def tables(config) -> list[np.ndarray]:
    books = tiny_books()
    return [books.pathology, books.anatomy] if isinstance(config, MeDSLIPConfig) else []
