"""TPU generations: how many chips a host has, and the software that its virtual machines start from."""

import dataclasses
import math
import re

from medslip_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Slice:
    """A TPU slice: `hosts` machines with `chips_per_host` chips each."""

    chips_per_host: int
    hosts: int


# Name of the accelerator in GKE -> dimensions of its topologies.
# Source: "Plan TPUs in GKE" (cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus), tables of machine types.
_DIMENSIONS = {
    "tpu-v4-podslice": 3,
    "tpu-v5p-slice": 3,
    "tpu7x": 3,
    "tpu-v5-lite-podslice": 2,
    "tpu-v6e-slice": 2,
}
# Same source: machines of 1 chip (ct5lp-hightpu-1t, ct6e-standard-1t) and of 8 (-8t) exist for these topologies of two
# dimensions; in all others, of any generation, a host has 4.
_SINGLE_HOSTS = {"1x1": 1, "2x4": 8}

# Prefix of the accelerator type in Cloud TPU -> runtime version.
# Source: "TPU software versions" (cloud.google.com/tpu/docs/runtimes).
_RUNTIMES = {
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}


def slice_of(accelerator: str, topology: str, *, chips_per_host: int | None = None) -> Slice:
    """Hosts and chips of a GKE slice.

    >>> slice_of("tpu-v5-lite-podslice", "4x4")
    Slice(chips_per_host=4, hosts=4)

    Args:
      accelerator: label `cloud.google.com/gke-tpu-accelerator` of the node pool.
      topology: label `cloud.google.com/gke-tpu-topology`.
      chips_per_host: for node pools of another machine type than the usual one.

    Raises:
      InputError: an unknown accelerator, or a topology that it does not have.
    """
    dimensions = _DIMENSIONS.get(accelerator)
    if dimensions is None:
        raise InputError(f"--accelerator {accelerator}: give one of {', '.join(_DIMENSIONS)}")
    if not re.fullmatch(r"[1-9]\d*" + r"x[1-9]\d*" * (dimensions - 1), topology):
        example = "2x2x4" if dimensions == 3 else "4x4"
        raise InputError(f"--topology {topology}: {accelerator} has {dimensions} dimensions, such as {example}")
    chips = math.prod(map(int, topology.split("x")))
    each = chips_per_host or (_SINGLE_HOSTS.get(topology, 4) if dimensions == 2 else 4)
    if chips % each:
        raise InputError(f"--topology {topology}: {chips} chips are not a multiple of {each} a host")
    return Slice(chips_per_host=each, hosts=chips // each)


def runtime_of(kind: str) -> str:
    """The runtime version for a Cloud TPU accelerator type such as v5litepod-16; `InputError` for an unknown one."""
    version = _RUNTIMES.get(kind.partition("-")[0])
    if version is None:
        known = ", ".join(f"{prefix}-N" for prefix in _RUNTIMES)
        raise InputError(f"--type {kind}: no runtime version is known for it; add --version, or give one of {known}")
    return version
