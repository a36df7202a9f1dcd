"""What is measured against computes the released losses: golden numbers, and both ways agree."""

import json

import numpy as np
import pytest
from places import GOLDEN

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
from medslip_jax.benchmarks.torch_step import TorchStep, draw_negatives, looped_losses, whole_losses  # noqa: E402
from medslip_jax.testing import recipe_state, synthetic_batch  # noqa: E402

pytestmark = pytest.mark.torch
TERMS = ("exist_pathology", "proto_pathology", "exist_anatomy", "proto_anatomy", "icl")
MANIFEST = GOLDEN / "resnet50.manifest.json"


@pytest.mark.slow
@pytest.mark.parametrize("losses", ["looped", "whole"])
def test_golden_losses(losses, golden):
    arrays = golden("resnet50")
    books = {stream: arrays[f"{stream}_book"] for stream in ("pathology", "anatomy")}
    step = TorchStep(books, losses=losses, state=recipe_state(json.loads(MANIFEST.read_text())))
    negatives = {s: torch.as_tensor(arrays[f"index_{s}"][:, :, 1:].astype(np.int64)) for s in books}
    image = torch.as_tensor(arrays["image"].astype(np.float32))
    terms = step.terms(image, torch.as_tensor(arrays["matrix"]), negatives)
    total = sum(terms.values()).item()
    np.testing.assert_allclose([total, *(terms[t].item() for t in TERMS)], arrays["train/losses"], rtol=1e-4)


def test_looped_and_whole_losses_agree():
    matrix = torch.as_tensor(synthetic_batch(3, image_size=16)["matrix"]).long()
    torch.manual_seed(0)
    books = {"pathology": torch.randn(75, 12), "anatomy": torch.randn(51, 12)}
    out = {
        stream: {"features": torch.randn(3, q, 8), "logits": torch.randn(3, q, 2), "projection": torch.randn(3, q, 12)}
        for stream, q in (("pathology", 75), ("anatomy", 51))
    }
    negatives = draw_negatives(matrix)
    one, other = (f(out, matrix, books, negatives) for f in (looped_losses, whole_losses))
    for term in TERMS:
        torch.testing.assert_close(one[term], other[term])
