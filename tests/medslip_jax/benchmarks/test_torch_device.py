"""PyTorch's side of `medslip bench device`, on the CPU in place of a GPU."""

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
from medslip_jax.benchmarks.device_sizes import SIZES, Part  # noqa: E402
from medslip_jax.benchmarks.torch_device import TorchParts  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def parts(monkeypatch):
    """Without the compiler, which takes a minute."""
    monkeypatch.setattr(torch, "compile", lambda function: function)
    return TorchParts(dataclasses.replace(SIZES["tiny"], seconds=0.01), device="cpu")


def test_all_parts_have_a_rate(parts):
    assert [(part.kind, part.precision) for part in parts.parts] == [
        ("step", "fp32"), ("inference", "fp32"), ("step", "bf16"), ("inference", "bf16"),
    ]  # fmt: skip
    for part in parts.parts:
        row = parts.measure(part)
        assert row["status"] == "ok" and row["form"] == "compiled" and row["images_per_second"] > 0
        assert row["part"] == part.name and row["first_call_seconds"] > 0


def test_steps_train(parts):
    advance = parts._work(Part("step", "fp32", 2), wrap=lambda function: function)
    losses = [advance().item() for _ in range(30)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_without_the_compiler(parts, monkeypatch):
    def broken(function):
        raise RuntimeError("Cannot find a working triton installation")

    monkeypatch.setattr(torch, "compile", broken)
    row = parts.measure(Part("inference", "fp32", 2))
    assert row["form"] == "not compiled" and row["images_per_second"] > 0
    assert row["why"] == "torch.compile failed: Cannot find a working triton installation"


def test_out_of_memory_is_not_a_failure_of_the_compiler(parts, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(parts, "_rate", full)
    with pytest.raises(torch.OutOfMemoryError):
        parts.measure(Part("step", "fp32", 2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU")
def test_without_a_gpu_it_says_so():
    none = TorchParts(SIZES["tiny"])
    assert none.parts == [] and none.described()["why"] == f"PyTorch {torch.__version__} sees no GPU"
