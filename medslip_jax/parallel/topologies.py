"""Names of TPU slices and of GPUs in nodes: "v5e:4x4", "h100:8", "h100:2x8"."""

import math
import re
from dataclasses import dataclass

from medslip_jax.errors import InputError
from medslip_jax.parallel.chips import CHIPS, GPUS, Chip

MAX_CHIPS = 256


@dataclass(frozen=True)
class Topology:
    """A slice of `shape` chips along each axis, or (nodes, GPUs of each)."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        shown = self.shape[1:] if self.chip.platform == "cuda" and self.shape[0] == 1 else self.shape
        return f"{self.chip.name}:{'x'.join(map(str, shown))}"

    @property
    def chips(self) -> int:
        return math.prod(self.shape)

    @property
    def hosts(self) -> int:
        if self.chip.platform == "cuda":
            return self.shape[0]
        return max(1, self.chips // self.chip.chips_per_host)

    @property
    def chips_per_host(self) -> int:
        return self.chips // self.hosts

    @property
    def compiler(self) -> str:
        """The package whose version decides the program, beside jaxlib's."""
        return "jax-cuda12-pjrt" if self.chip.platform == "cuda" else "libtpu"


def parse_topology(text: str) -> Topology:
    """ "v5e:4x4" -> the slice of 16 chips, "h100:2x8" -> two nodes of 8.

    Raises:
      InputError: no such chip, a shape that no slice has, or more than 256 chips.
    """
    name, _, shape = text.partition(":")
    chip = (CHIPS | GPUS).get(name)
    if chip is None:
        known = ", ".join([*CHIPS, *GPUS])
        examples = ", ".join(chip.examples[1] for chip in (*CHIPS.values(), GPUS["h100"]))
        raise InputError(f"--topology {text}: unknown chip; one of {known}, for example {examples}")
    example = f"for example {', '.join(chip.examples)}"
    topology = Topology(chip, _gpu_shape(text, shape) if chip.platform == "cuda" else _tpu_shape(text, shape, chip))
    if topology.chips > MAX_CHIPS:
        raise InputError(f"--topology {text}: {topology.chips} chips, and at most {MAX_CHIPS} are tried; {example}")
    whole = chip.platform == "cuda" or topology.chips == 1
    if not whole and any(n % h for n, h in zip(topology.shape, chip.host, strict=False)):
        host = "x".join(map(str, chip.host[: chip.axes]))
        raise InputError(f"--topology {text}: hosts of {host} chips do not tile it; {example}")
    return topology


def _tpu_shape(text: str, shape: str, chip: Chip) -> tuple[int, ...]:
    if not re.fullmatch("x".join([r"[1-9][0-9]{0,3}"] * chip.axes), shape):
        form = "x".join("ABC"[: chip.axes])
        example = f"for example {', '.join(chip.examples)}"
        raise InputError(f"--topology {text}: a {chip.name} slice is written {chip.name}:{form}, {example}")
    return tuple(map(int, shape.split("x")))


def _gpu_shape(text: str, shape: str) -> tuple[int, ...]:
    """(nodes, GPUs of a node)."""
    match = re.fullmatch(r"(?:([1-9][0-9]{0,3})x)?([1-9][0-9]{0,3})", shape)
    if match is None:
        name = text.partition(":")[0]
        raise InputError(
            f"--topology {text}: GPUs are written {name}:COUNT, or {name}:NODESxCOUNT for several nodes, "
            f"for example {', '.join(GPUS[name].examples)}"
        )
    return int(match.group(1) or 1), int(match.group(2))
