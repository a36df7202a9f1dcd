"""What accelerators can do at their peak.

Numbers of TPUs are those of the Google Cloud TPU documentation (cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e,
section "System architecture"): peak compute a chip in bfloat16, capacity and bandwidth of its memory. `usable_gib` is
what the compiler of libtpu 0.0.42.1 lets a program have; it is the limit in its own message on a program that is too
large. Numbers of GPUs are dense bfloat16 tensor-core rates of NVIDIA's data sheets (half of those "with sparsity").
"""

import dataclasses
import math
import re

MAX_CHIPS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One kind of TPU chip or GPU.

    Attributes:
      name: as in a topology's name.
      peak_flops: FLOP/s in bfloat16.
      hbm_gib, usable_gib: memory, and what of it a program may use.
      hbm_bytes: bytes/s between memory and chip.
      host: chips of one host along the axes of a slice.
      axes: of a slice: 2 or 3; of GPUs 1, as those of a node are alike.
      examples: names of slices, for messages.
      config_name: of libtpu: the two cores of a v4 or v5p chip are one device.
      platform: "tpu" or "cuda".
      note: what a reader of its numbers has to know.
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
    platform: str = "tpu"
    note: str = ""

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


def _gpu(name: str, *, peak: float, gib: float, usable: float, bandwidth: float, note: str = "") -> Chip:
    return Chip(
        name=name,
        peak_flops=peak,
        hbm_gib=gib,
        usable_gib=usable,
        hbm_bytes=bandwidth,
        axes=1,
        host=(8, 1, 1),
        examples=(f"{name}:1", f"{name}:8", f"{name}:2x8"),
        platform="cuda",
        note=note,
    )


_T4 = (
    "a T4 has no bfloat16 tensor cores: XLA computes bfloat16 products in float32, and the bound is by that rate, "
    "8.1e12 FLOP/s; its tensor cores are for float16, which is not used here"
)

GPUS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        _gpu("t4", peak=8.1e12, gib=16, usable=14.74, bandwidth=320e9, note=_T4),
        _gpu("l4", peak=121e12, gib=24, usable=22.03, bandwidth=300e9),
        _gpu("a100", peak=312e12, gib=80, usable=79.25, bandwidth=2039e9),
        _gpu("h100", peak=989e12, gib=80, usable=79.11, bandwidth=3350e9),
        _gpu("h200", peak=989e12, gib=141, usable=139.8, bandwidth=4800e9),
        _gpu("b200", peak=2250e12, gib=180, usable=178.36, bandwidth=8000e9),
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
    "NVIDIA A100": GPUS["a100"].peak_flops,
    "NVIDIA H100": GPUS["h100"].peak_flops,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": GPUS["h200"].peak_flops,
    "NVIDIA GH200": 989e12,
    "NVIDIA B200": GPUS["b200"].peak_flops,
    "NVIDIA L4": GPUS["l4"].peak_flops,
    "NVIDIA L40S": 362e12,
}


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of one device, None if it is not in the table (a CPU, TPU v2 and v3, a T4).

    >>> peak_flops("TPU v5 lite"), peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("cpu")
    (197000000000000.0, 989000000000000.0, None)
    """
    fitting = [known for known in _PEAKS if re.match(re.escape(known) + r"(?![0-9A-Za-z])", device_kind)]
    return _PEAKS[max(fitting, key=len)] if fitting else None
