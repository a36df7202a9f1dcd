"""Layers of fine-tuning, the classifier and the U-Net: against PyTorch, against small cases by hand, in training."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.models import Classifier, ClassifierConfig, MeDSLIPConfig, Segmenter, SegmenterConfig
from medslip_jax.models.kinds import abstract_variables, config_from_fields, fields_of, kind_of, make_module
from medslip_jax.models.layers import Conv, Linear, TransposedConv

TINY = {"backbone": "resnet18", "trunk_width": 4}
TRUNK_OF_18 = {f"layer{stage}_{j}" for stage in (1, 2, 3) for j in (0, 1)} | {"conv1", "bn1"}
# Seconds instead of a minute to compile; same computation.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def leaves(tree) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def initial(config) -> dict:
    return jit(make_module(config).init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def outputs(config, variables, image) -> np.ndarray:
    out = jit(make_module(config).apply)(variables, image)
    assert out.dtype == jnp.float32
    return np.asarray(out)


# Layers


def test_transposed_conv_by_hand():
    # One row of two pixels, one channel in and out: each becomes its value times the 2 x 2 kernel, plus the bias.
    kernel = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    image = np.array([10, 100], np.float32).reshape(1, 1, 2, 1)
    out = TransposedConv(1, 2).apply({"params": {"kernel": kernel, "bias": np.full(1, 0.5, np.float32)}}, image)
    assert out.shape == (1, 2, 4, 1)
    assert out[0, ..., 0].tolist() == [[10.5, 20.5, 100.5, 200.5], [30.5, 40.5, 300.5, 400.5]]


@pytest.mark.torch
@pytest.mark.parametrize("size", [2, 3])
def test_transposed_conv_is_pytorchs(size):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    x, kernel, bias = noise(2, 3, 5, 4), noise(4, size, size, 6, seed=1), noise(6, seed=2)
    got = TransposedConv(6, size).apply({"params": {"kernel": kernel, "bias": bias}}, x)
    want = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(kernel.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(bias),
        stride=size,
    )
    np.testing.assert_allclose(got, want.numpy().transpose(0, 2, 3, 1), rtol=0, atol=2e-6)


@pytest.mark.torch
def test_conv_with_bias_is_pytorchs():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    x, kernel, bias = noise(2, 6, 5, 4), noise(3, 3, 4, 7, seed=1), noise(7, seed=2)
    got = Conv(7, 3, bias="torch").apply({"params": {"kernel": kernel, "bias": bias}}, x)
    want = torch.nn.functional.conv2d(
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()),
        torch.from_numpy(bias),
        padding=1,
    )
    np.testing.assert_allclose(got, want.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-5)


def test_conv_has_a_bias_only_where_asked():
    assert Conv(3, 3).init(jax.random.key(0), noise(1, 4, 4, 2))["params"].keys() == {"kernel"}


LAYERS = {
    # PyTorch's fan-in: what one output sums over; of a transposed convolution the kernel's second axis, its outputs.
    "transposed": (TransposedConv(32, 2), 32 * 2 * 2),
    "conv": (Conv(32, 3, bias="torch"), 16 * 3 * 3),
    "linear": (Linear(32, "torch"), 16),
}


@pytest.mark.parametrize("name", LAYERS)
def test_initial_values_fill_pytorchs_range(name):
    layer, fan_in = LAYERS[name]
    params = layer.init(jax.random.key(0), noise(1, 4, 4, 16))["params"]
    bound = 1 / math.sqrt(fan_in)
    for leaf, filled in (("kernel", 0.98), ("bias", 0.8)):
        values = np.asarray(params[leaf])
        assert filled * bound < np.abs(values).max() <= bound, leaf
    # Uniform, not normal and not of one sign.
    np.testing.assert_allclose(params["kernel"].std(), bound / math.sqrt(3), rtol=0.05)
    assert abs(params["kernel"].mean()) < 0.1 * bound


@pytest.mark.torch
@pytest.mark.parametrize("name", LAYERS)
def test_those_ranges_are_what_pytorch_draws_from(name):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.manual_seed(0)
    make = {
        "transposed": lambda: torch.nn.ConvTranspose2d(16, 32, 2, stride=2),
        "conv": lambda: torch.nn.Conv2d(16, 32, 3),
        "linear": lambda: torch.nn.Linear(16, 32),
    }[name]
    bound = 1 / math.sqrt(LAYERS[name][1])
    # Several layers, so that 32 biases are enough to see the end of the range.
    drawn = [make() for _ in range(20)]
    for leaf in ("weight", "bias"):
        largest = max(getattr(module, leaf).abs().max().item() for module in drawn)
        assert 0.98 * bound < largest <= bound * (1 + 1e-6), leaf


# U-Net


@pytest.fixture(scope="module")
def unet():
    config = SegmenterConfig(**TINY, num_classes=2, dropout=0.5)
    return config, initial(config)


def test_segmenter_gives_one_logit_a_pixel_and_class(unet):
    config, variables = unet
    # Neither square nor a power of two: only divisible by 16.
    out = jax.eval_shape(Segmenter(config).apply, variables, jax.ShapeDtypeStruct((3, 48, 80, 3), jnp.float32))
    assert (out.shape, out.dtype) == ((3, 48, 80, 2), jnp.float32)


def test_segmenter_parts(unet):
    _, variables = unet
    params = variables["params"]
    assert set(params) == {"trunk", "bridge_0", "bridge_1", "up_0", "up_1", "up_2", "up_3", "head"}
    assert set(params["trunk"]) == TRUNK_OF_18
    # ResNet-18 of width 4: layer3 16, layer2 8, layer1 and stem 4 channels; the last skip is the image.
    skips = {"up_0": (8, 8), "up_1": (4, 4), "up_2": (2, 4), "up_3": (1, 3)}
    for name, (width, skip) in skips.items():
        block = params[name]
        assert block["upsample"]["kernel"].shape == (2 * width, 2, 2, width)
        assert block["conv_block_1"]["conv"]["kernel"].shape == (3, 3, width + skip, width)
        assert block["conv_block_2"]["conv"]["kernel"].shape == (3, 3, width, width)


@pytest.fixture(scope="module")
def unet_training(unet):
    """key -> output, updated statistics and gradients of a loss that looks at every pixel."""
    config, variables = unet
    image = noise(2, 32, 32, 3)

    @jit
    def run(key):
        def loss_fn(params):
            out, updated = Segmenter(config).apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                image,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return jnp.square(out - 1).mean(), {"out": out, "batch_stats": updated["batch_stats"]}

        (_, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
        return aux | {"grads": grads}

    return {"run": run, "image": image}


def test_dropout_acts_in_training_only(unet, unet_training):
    config, variables = unet
    run = unet_training["run"]
    one, same, other = (run(jax.random.key(seed))["out"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    # At rate 0.5, two classes' logits come from 4 / 2 channels: now and then both pixels of a class are the bias alone.
    bias = np.asarray(variables["params"]["head"]["bias"])
    assert (np.asarray(one) == bias).all(-1).mean() > 0.2
    # No random key at all: an active dropout would ask for one.
    out = outputs(config, variables, unet_training["image"])
    assert not (out == bias).all(-1).all()


def test_every_part_of_the_unet_learns(unet, unet_training):
    _, variables = unet
    result = unet_training["run"](jax.random.key(0))
    still = [
        name
        for name, g in leaves(result["grads"]).items()
        # BatchNorm takes off what a bias before it adds.
        if not np.abs(g).max() > 0 and not name.endswith("['conv']['bias']")
    ]
    assert still == []
    before, after = leaves(variables["batch_stats"]), leaves(result["batch_stats"])
    assert before.keys() == after.keys()
    assert [name for name in before if np.array_equal(before[name], after[name])] == []


# Classifier


def test_classifier_reads_layer4():
    config = ClassifierConfig(**TINY, num_classes=3)
    variables = abstract_variables(config)
    assert set(variables["params"]) == {"trunk", "head"}
    assert set(variables["params"]["trunk"]) == TRUNK_OF_18 | {"layer4_0", "layer4_1"}
    # ResNet-18 of width 4 ends with 4 * 2^3 channels.
    assert variables["params"]["head"]["kernel"].shape == (32, 3)
    out = jax.eval_shape(Classifier(config).apply, variables, jax.ShapeDtypeStruct((5, 64, 96, 3), jnp.float32))
    assert (out.shape, out.dtype) == ((5, 3), jnp.float32)


@pytest.fixture(scope="module")
def disentangled():
    config = ClassifierConfig(**TINY, num_classes=2, disentangle="pathology", embed_dim=6, patch_norm="layer_norm")
    return config, initial(config)


def test_disentangled_parts(disentangled):
    _, variables = disentangled
    params = variables["params"]
    streams = {f"patch_{part}_{name}" for part in ("hidden", "out", "norm") for name in ("pathology", "anatomy")}
    assert set(params) == {"trunk", "mask_generator", "back", "layer4_0", "layer4_1", "head"} | streams
    assert params["back"]["kernel"].shape == (6, 16)
    assert set(params["trunk"]) == TRUNK_OF_18


def test_the_anatomy_stream_is_held_but_never_read(disentangled):
    config, variables = disentangled

    @jit
    @jax.grad
    def gradient(params):
        full = {"params": params, "batch_stats": variables["batch_stats"]}
        out, _ = Classifier(config).apply(full, noise(2, 32, 32, 3), train=True, mutable=["batch_stats"])
        return jnp.square(out - 1).mean()

    sizes = {name: np.abs(g).max() for name, g in leaves(gradient(variables["params"])).items()}
    unread = {name for name, size in sizes.items() if size == 0}
    assert unread == {name for name in sizes if "_anatomy" in name}
    assert len(unread) == 6


def test_disentangling_mask_changes_the_classifier(disentangled):
    config, variables = disentangled
    fields = fields_of(config)
    image = noise(1, 32, 32, 3)
    outs = [
        outputs(config_from_fields("classifier", fields | {"mask_activation": activation}), variables, image)
        for activation in ("none", "sigmoid")
    ]
    assert not np.allclose(*outs)


def test_classifier_in_bfloat16_gives_float32_logits(disentangled):
    config, variables = disentangled
    narrow = config_from_fields("classifier", fields_of(config) | {"dtype": "bfloat16"})
    image = noise(2, 32, 32, 3)
    got, want = (outputs(c, variables, image) for c in (narrow, config))
    assert not np.array_equal(got, want)
    np.testing.assert_allclose(got, want, rtol=0, atol=0.05)
    # Parameters and statistics stay float32, whatever computes.
    assert {leaf.dtype for leaf in jax.tree.leaves(abstract_variables(narrow))} == {jnp.dtype("float32")}


# Configs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassifierConfig(backbone="resnet34"), r"model\.backbone='resnet34': must be one of resnet50"),
        (lambda: ClassifierConfig(num_classes=0), r"model\.num_classes=0: must be an integer of at least 1"),
        (lambda: ClassifierConfig(num_classes=2.0), r"model\.num_classes=2\.0"),
        (lambda: ClassifierConfig(disentangle="anatomy"), r"model\.disentangle='anatomy': must be one of none"),
        (lambda: ClassifierConfig(patch_norm=True), r"model\.patch_norm=True"),
        (lambda: SegmenterConfig(dropout=1.0), r"model\.dropout=1\.0: must be in \[0, 1\)"),
        (lambda: SegmenterConfig(dropout="0.1"), r"model\.dropout=0\.1"),
        (lambda: SegmenterConfig(trunk_width=-4), r"model\.trunk_width=-4"),
        (lambda: SegmenterConfig(dtype="float16"), r"model\.dtype='float16'"),
        (lambda: config_from_fields("detector", {}), r"kind 'detector' is unknown; one of medslip, classifier"),
        (lambda: config_from_fields("segmenter", {"embed_dim": 3}), r"unknown keys embed_dim; it has: backbone"),
    ],
)
def test_invalid_config_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("config", [MeDSLIPConfig(), ClassifierConfig(num_classes=14), SegmenterConfig(dropout=0)])
def test_kind_and_fields_make_the_config_again(config):
    assert config_from_fields(kind_of(config), fields_of(config)) == config
