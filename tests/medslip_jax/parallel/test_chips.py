import pytest

from medslip_jax.parallel.chips import GPUS, peak_flops


@pytest.mark.parametrize(
    ("kind", "tera"),
    [
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5", 459),
        ("TPU v5p", 459),
        ("TPU v6 lite", 918),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA B200", 2250),
    ],
)
def test_peak_of_a_device(kind, tera):
    assert peak_flops(kind) == tera * 1e12


@pytest.mark.parametrize("kind", ["cpu", "", "TPU v3", "TPU v50", "NVIDIA L40", "NVIDIA H1000", "Tesla T4"])
def test_no_peak_is_made_up(kind):
    assert peak_flops(kind) is None


def test_a_t4_is_bound_by_float32_and_says_so():
    assert GPUS["t4"].peak_flops < 10e12
    assert "no bfloat16 tensor cores" in GPUS["t4"].note
    assert not any(chip.note for name, chip in GPUS.items() if name != "t4")
