"""PyTorch on the same GPU: the same step and inference, channels_last, autocast and `torch.compile`."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from medslip_jax.aot.compiled import one_line
from medslip_jax.benchmarks.device_sizes import Part, Size, rate_parts
from medslip_jax.benchmarks.timing import in_a_row
from medslip_jax.benchmarks.torch_step import TorchStep, draw_negatives
from medslip_jax.testing import synthetic_batch, tiny_books
from medslip_jax.weights.torch.torch_model import preprocess, probabilities


class TorchParts:
    """Steps and inference on the first GPU that PyTorch sees.

    Args:
      size: as JAX's parts have it.
      device: as PyTorch calls it.
    """

    def __init__(self, size: Size, *, device: str = "cuda"):
        self._size, self._device = size, torch.device(device)
        # float32 means float32, as in our model.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.parts = rate_parts(size, platform=self._device.type) if self.available() else []

    def available(self) -> bool:
        return self._device.type == "cpu" or torch.cuda.is_available()

    def described(self) -> dict:
        if not self.available():
            return {"platform": "none", "why": f"PyTorch {torch.__version__} sees no GPU"}
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        return {"platform": self._device.type, "device_kind": name, "torch": torch.__version__}

    def measure(self, part: Part) -> dict:
        """The row of a part; without `torch.compile` where that fails, which the row then says."""
        try:
            return part.row("ok", form="compiled", **self._rate(part, wrap=torch.compile))
        except torch.OutOfMemoryError:
            raise
        # Triton or a C compiler is missing, or what the compiler makes does not run.
        except Exception as error:
            why = one_line(f"torch.compile failed: {error}", width=160)
        torch.compiler.reset()
        return part.row("ok", form="not compiled", why=why, **self._rate(part, wrap=lambda function: function))

    def _rate(self, part: Part, *, wrap: Callable) -> dict:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        torch.compiler.reset()
        advance = self._work(part, wrap=wrap)
        start = time.perf_counter()
        self._wait(advance())
        first = time.perf_counter() - start
        times = in_a_row(advance, wait=self._wait, seconds=self._size.seconds)
        cuda = self._device.type == "cuda"
        return {
            "images_per_second": part.batch / times["seconds_median"],
            **times,
            "first_call_seconds": first,
            **({"memory_bytes": torch.cuda.max_memory_allocated(self._device)} if cuda else {}),
        }

    def _work(self, part: Part, *, wrap: Callable) -> Callable[[], object]:
        books = tiny_books(self._size.model.text_dim)
        tables = {"pathology": books.pathology, "anatomy": books.anatomy}
        step = TorchStep(tables, losses="whole", device=str(self._device), model=self._size.model)
        model: Any = step.model  # PyTorch's stubs know no `to` of a memory format
        step.model = model.to(memory_format=torch.channels_last)
        arrays = synthetic_batch(part.batch, image_size=self._size.image_size)
        image, matrix = (torch.as_tensor(np.asarray(arrays[key])).to(self._device) for key in ("image", "matrix"))
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=part.precision == "bf16")

        def total(image, matrix):
            pixels = preprocess(image).contiguous(memory_format=torch.channels_last)
            return torch.stack(list(step.terms(pixels, matrix, draw_negatives(matrix)).values())).sum()

        def inference(image):
            pixels = preprocess(image).contiguous(memory_format=torch.channels_last)
            return probabilities(step.model(pixels, step.books["pathology"], step.books["anatomy"]))

        compiled = wrap(total if part.kind == "step" else inference)

        def advance_step():
            with autocast:
                loss = compiled(image, matrix)
            step.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            step.optimizer.step()
            return loss.detach()

        def advance_inference():
            with torch.inference_mode(), autocast:
                return compiled(image)

        if part.kind == "step":
            return advance_step
        step.model.eval()
        return advance_inference

    def _wait(self, _) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
