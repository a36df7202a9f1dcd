import pytest

from medslip_jax.errors import InputError
from medslip_jax.launch.topology import Slice, runtime_of, slice_of


@pytest.mark.parametrize(
    ("accelerator", "topology", "chips", "hosts"),
    [
        # Rows of the tables in "Plan TPUs in GKE".
        ("tpu-v5-lite-podslice", "1x1", 1, 1),
        ("tpu-v5-lite-podslice", "2x2", 4, 1),
        ("tpu-v5-lite-podslice", "2x4", 8, 1),
        ("tpu-v5-lite-podslice", "4x4", 4, 4),
        ("tpu-v5-lite-podslice", "16x16", 4, 64),
        ("tpu-v6e-slice", "2x4", 8, 1),
        ("tpu-v6e-slice", "4x8", 4, 8),
        ("tpu-v4-podslice", "2x2x1", 4, 1),
        ("tpu-v4-podslice", "2x2x2", 4, 2),
        ("tpu-v5p-slice", "4x4x8", 4, 32),
        ("tpu7x", "2x2x2", 4, 2),
    ],
)
def test_hosts_and_chips(accelerator, topology, chips, hosts):
    assert slice_of(accelerator, topology) == Slice(chips_per_host=chips, hosts=hosts)


def test_other_machines():
    assert slice_of("tpu-v6e-slice", "2x4", chips_per_host=4) == Slice(chips_per_host=4, hosts=2)


@pytest.mark.parametrize("topology", ["", "4", "4x", "0x4", "4x4x4", "4 x 4", "ax4", "-4x4"])
def test_topologies_that_do_not_exist(topology):
    with pytest.raises(InputError, match="has 2 dimensions"):
        slice_of("tpu-v6e-slice", topology)


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("v4-8", "tpu-ubuntu2204-base"),
        ("v5litepod-16", "v2-alpha-tpuv5-lite"),
        ("v5p-32", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
    ],
)
def test_runtime(kind, version):
    assert runtime_of(kind) == version
