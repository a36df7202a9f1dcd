"""The released fine-tuning models are reproduced: the issue asks for 1e-3, a plain float32 transcription gives 1e-5."""

import json

import jax
import numpy as np
import pytest
from places import GOLDEN

from medslip_jax.models import ClassifierConfig, SegmenterConfig
from medslip_jax.models.folding import fold
from medslip_jax.models.kinds import make_module
from medslip_jax.testing import recipe_state
from medslip_jax.weights.torch.conversion import from_torch, to_torch

pytestmark = pytest.mark.portable

MANIFEST = json.loads((GOLDEN / "finetune.manifest.json").read_text())
CONFIGS = {
    "classifier": ClassifierConfig(),
    "classifier_disentangled": ClassifierConfig(disentangle="pathology"),
    "resunet": SegmenterConfig(),
}
LIMIT = 1e-5
# ResNet-50 up to layer3 and its layer4 (torchvision), Linear(a, b) = (a + 1) b, convolutions, two numbers a BatchNorm.
TRUNK, LAYER4 = 8_543_296, 14_964_736
STREAM, SQUARE = 1025 * 1024 + 1025 * 256, 1025 * 1024
BRIDGE = 2 * ((9 * 1024 + 1) * 1024 + 2 * 1024)


def up_block(width: int, skip: int) -> int:
    """Transposed convolution from twice the width, then 3 x 3 on [upsampled, skip] and on its result."""
    blocks = sum((9 * c + 1) * width + 2 * width for c in (width + skip, width))
    return (4 * 2 * width) * width + width + blocks


COUNTS = {
    "classifier": TRUNK + LAYER4 + 2049,
    "classifier_disentangled": TRUNK + LAYER4 + 2 * STREAM + SQUARE + 257 * 1024 + 2049,
    "resunet": TRUNK + BRIDGE + up_block(512, 512) + up_block(256, 256) + up_block(128, 64) + up_block(64, 3) + 65,
}


@pytest.fixture(scope="module", params=CONFIGS)
def case(request, golden):
    name, arrays = request.param, golden("finetune")
    config, state = CONFIGS[name], recipe_state(MANIFEST[name])
    variables = from_torch(state, config)
    image = arrays["image"].astype(np.float32).transpose(0, 2, 3, 1)
    return {
        "name": name,
        "config": config,
        "state": state,
        "variables": variables,
        "image": image,
        "golden": arrays,
    }


@pytest.mark.parametrize("norms", ["as trained", "folded"])
def test_output(case, norms):
    variables = fold(case["variables"]) if norms == "folded" else case["variables"]
    output = np.asarray(jax.jit(make_module(case["config"]).apply)(variables, case["image"]))
    if case["name"] == "resunet":
        assert output.shape == (2, 224, 224, 1)
        got = output.transpose(0, 3, 1, 2)[..., ::2, ::2]
        moments = [output.mean(), output.std()]
        np.testing.assert_allclose(moments, case["golden"]["resunet_mean_std"], rtol=0, atol=LIMIT)
    else:
        got = output
    want = case["golden"][case["name"]]
    # The limit tells something only where the outputs are much larger than it.
    assert np.abs(want).max() > 100 * LIMIT
    np.testing.assert_allclose(got, want, rtol=0, atol=LIMIT)


def test_names_and_their_order_are_the_released_ones(case):
    back = to_torch(case["variables"], case["config"])
    assert [(name, list(array.shape)) for name, array in back.items()] == list(MANIFEST[case["name"]].items())
    for name, array in case["state"].items():
        assert back[name].dtype == array.dtype, name
        assert np.array_equal(back[name], array), name


def test_parameter_count(case):
    assert sum(leaf.size for leaf in jax.tree.leaves(case["variables"]["params"])) == COUNTS[case["name"]]
