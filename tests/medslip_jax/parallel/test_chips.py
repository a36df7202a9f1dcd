import pytest

from medslip_jax.errors import InputError
from medslip_jax.parallel.chips import CHIPS, peak_flops
from medslip_jax.parallel.topologies import parse_topology


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
    ],
)
def test_peak_of_a_device(kind, tera):
    assert peak_flops(kind) == tera * 1e12


@pytest.mark.parametrize("kind", ["cpu", "", "TPU v3", "TPU v50", "NVIDIA L40", "NVIDIA H1000", "Tesla T4"])
def test_no_peak_is_made_up(kind):
    assert peak_flops(kind) is None


@pytest.mark.parametrize(
    ("text", "chips", "hosts"),
    [("v5e:4x4", 16, 4), ("v5e:16x16", 256, 64), ("v5e:1x1", 1, 1), ("v4:2x2x1", 4, 1), ("v5p:4x4x16", 256, 64)],
)
def test_topologies(text, chips, hosts):
    topology = parse_topology(text)
    assert (topology.name, topology.chips, topology.hosts) == (text, chips, hosts)


@pytest.mark.parametrize("text", [name for chip in CHIPS.values() for name in chip.examples])
def test_examples_are_topologies(text):
    assert parse_topology(text).chips <= 256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown chip; one of v4, v5e, v5p, v6e"),
        ("v7x:2x2x1", "unknown chip"),
        ("v5e", "written v5e:AxB"),
        ("v5e:4", "written v5e:AxB"),
        ("v5e:2x2x1", "written v5e:AxB"),
        ("v5e:0x4", "written v5e:AxB"),
        ("v4:4x4", "written v4:AxBxC"),
        ("v5e:16x32", "512 chips, and at most 256"),
        ("v5e:9999x9999", "at most 256"),
        ("v6e:3x3", "hosts of 2x2 chips do not tile it"),
        ("v4:2x3x4", "hosts of 2x2x1 chips do not tile it"),
    ],
)
def test_unusable_topologies_say_what_to_write(text, message):
    with pytest.raises(InputError, match="--topology") as error:
        parse_topology(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "for example" in str(error.value)
