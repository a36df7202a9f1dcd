"""What accelerators can do at their peak, and the names of TPU slices.

Numbers of TPUs are those of the Google Cloud TPU documentation (cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e,
section "System architecture"): peak compute a chip in bfloat16, capacity and bandwidth of its memory. `usable_gib` is
what the compiler of libtpu 0.0.42.1 lets a program have; it is the limit in its own message on a program that is too
large. Numbers of GPUs are dense bfloat16 tensor-core rates of NVIDIA's data sheets (half of those "with sparsity").
"""

import dataclasses
import math
import re

from medslip_jax.errors import InputError

MAX_CHIPS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One kind of TPU chip.

    Attributes:
      name: as in a topology's name.
      peak_flops: FLOP/s in bfloat16.
      hbm_gib, usable_gib: memory, and what of it a program may use.
      hbm_bytes: bytes/s between memory and chip.
      host: chips of one host along the axes of a slice.
      axes: of a slice: 2 or 3.
      examples: names of slices, for messages.
      config_name: of libtpu: the two cores of a v4 or v5p chip are one device.
    """

    name: str
    peak_flops: float
    hbm_gib: float
    usable_gib: float
    hbm_bytes: float
    axes: int
    examples: tuple[str, ...]
    host: tuple[int, int, int] = (2, 2, 1)
    config_name: str = ""

    @property
    def chips_per_host(self) -> int:
        return math.prod(self.host)


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4",
            peak_flops=275e12,
            hbm_gib=32,
            usable_gib=30.75,
            hbm_bytes=1200e9,
            axes=3,
            examples=("v4:2x2x1", "v4:2x2x4", "v4:4x4x4", "v4:4x4x16"),
            config_name="megacore",
        ),
        Chip(
            name="v5e",
            peak_flops=197e12,
            hbm_gib=16,
            usable_gib=15.75,
            hbm_bytes=819e9,
            axes=2,
            examples=("v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16"),
        ),
        Chip(
            name="v5p",
            peak_flops=459e12,
            hbm_gib=95,
            usable_gib=95.74,
            hbm_bytes=2765e9,
            axes=3,
            examples=("v5p:2x2x1", "v5p:2x2x4", "v5p:4x4x4", "v5p:4x4x16"),
            config_name="megacore",
        ),
        Chip(
            name="v6e",
            peak_flops=918e12,
            hbm_gib=32,
            usable_gib=31.25,
            hbm_bytes=1638e9,
            axes=2,
            examples=("v6e:2x2", "v6e:4x4", "v6e:8x8", "v6e:16x16"),
        ),
    )
}

# Beginnings of `jax.Device.device_kind`; the longest that fits counts.
_PEAKS: dict[str, float] = {
    "TPU v4": CHIPS["v4"].peak_flops,
    "TPU v5 lite": CHIPS["v5e"].peak_flops,
    "TPU v5e": CHIPS["v5e"].peak_flops,
    "TPU v5": CHIPS["v5p"].peak_flops,
    "TPU v5p": CHIPS["v5p"].peak_flops,
    "TPU v6 lite": CHIPS["v6e"].peak_flops,
    "TPU v6e": CHIPS["v6e"].peak_flops,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA GH200": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
}


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of one device, None if it is not in the table (a CPU, or TPU v2 and v3).

    >>> peak_flops("TPU v5 lite"), peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("cpu")
    (197000000000000.0, 989000000000000.0, None)
    """
    fitting = [known for known in _PEAKS if re.match(re.escape(known) + r"(?![0-9A-Za-z])", device_kind)]
    return _PEAKS[max(fitting, key=len)] if fitting else None


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice: `shape` chips along each axis."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def chips(self) -> int:
        return math.prod(self.shape)

    @property
    def hosts(self) -> int:
        return max(1, self.chips // self.chip.chips_per_host)


def parse_topology(text: str) -> Topology:
    """ "v5e:4x4" -> the slice of 16 chips.

    Raises:
      InputError: no such chip, a shape that no slice has, or more than 256 chips.
    """
    name, _, shape = text.partition(":")
    chip = CHIPS.get(name)
    if chip is None:
        examples = ", ".join(chip.examples[1] for chip in CHIPS.values())
        raise InputError(f"--topology {text}: unknown chip; one of {', '.join(CHIPS)}, for example {examples}")
    form = "x".join("ABC"[: chip.axes])
    example = f"for example {', '.join(chip.examples)}"
    if not re.fullmatch("x".join([r"[1-9]\d{0,3}"] * chip.axes), shape):
        raise InputError(f"--topology {text}: a {name} slice is written {name}:{form}, {example}")
    topology = Topology(chip, tuple(map(int, shape.split("x"))))
    if topology.chips > MAX_CHIPS:
        raise InputError(f"--topology {text}: {topology.chips} chips, and at most {MAX_CHIPS} are tried; {example}")
    if topology.chips > 1 and any(n % h for n, h in zip(topology.shape, chip.host, strict=False)):
        host = "x".join(map(str, chip.host[: chip.axes]))
        raise InputError(f"--topology {text}: hosts of {host} chips do not tile it; {example}")
    return topology
