"""How large the parts of `medslip bench device` are, and which they are."""

import dataclasses
import functools
from typing import Any

from medslip_jax.models import MeDSLIPConfig
from medslip_jax.testing import tiny_config

PRECISIONS = ("bf16", "fp32")
KINDS = ("step", "inference")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """One of `SIZES`.

    Attributes:
      model: its config; the paper's by default. Its `dtype` is that of each part.
      image_size: side in pixels.
      batches: images at once, the most telling first, as the last parts are those that are left out.
      on_cpu: the same where there is no accelerator.
      seconds: of timed work a part.
      loader_batches: of 64 images.
    """

    model: MeDSLIPConfig = MeDSLIPConfig()
    image_size: int = 224
    batches: tuple[int, ...]
    on_cpu: tuple[int, ...]
    seconds: float
    loader_batches: int

    def batches_on(self, platform: str) -> tuple[int, ...]:
        return self.on_cpu if platform == "cpu" else self.batches


SIZES = {
    "paper": Size(batches=(128, 64, 256), on_cpu=(8, 4, 16), seconds=6.0, loader_batches=40),
    "tiny": Size(
        model=tiny_config(),
        image_size=32,
        batches=(2,),
        on_cpu=(2,),
        seconds=0.1,
        loader_batches=2,
    ),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One row of the result: golden parity, a rate of one kind, precision and batch, or the loader."""

    kind: str
    precision: str = ""
    batch: int = 0

    @functools.cached_property
    def name(self) -> str:
        """
        >>> Part("step", "bf16", 64).name
        'step, bf16, batch 64'
        """
        return ", ".join([self.kind, *([self.precision] if self.precision else []), *self._batch()])

    def _batch(self) -> list[str]:
        return [f"batch {self.batch}"] if self.batch else []

    def row(self, status: str, **values: Any) -> dict[str, Any]:
        """What the JSON has of it; `status` is "ok", "failed" or "left out"."""
        return {"part": self.name, **dataclasses.asdict(self), "status": status, **values}


def rate_parts(size: Size, *, platform: str) -> list[Part]:
    """Steps and inference in both precisions: all of the first batch size, then of the others what matters most.

    A CPU begins with float32, as bf16 is for accelerators.
    """
    first, *rest = size.batches_on(platform)
    precisions = PRECISIONS[::-1] if platform == "cpu" else PRECISIONS
    of_first = [Part(kind, precision, first) for precision in precisions for kind in KINDS]
    return of_first + [Part(kind, precision, batch) for precision in precisions for kind in KINDS for batch in rest]


def jax_parts(size: Size, *, platform: str) -> list[Part]:
    """All that JAX does, in order: what matters most comes first."""
    rates, head = rate_parts(size, platform=platform), len(PRECISIONS) * len(KINDS)
    return [Part("golden parity", "fp32"), *rates[:head], Part("loader to device"), *rates[head:]]
