"""The train step of the paper's model: forward, all losses, backward, AdamW; beside PyTorch where it is installed."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import jax
import numpy as np

from medslip_jax.aot.compiled import read_memory
from medslip_jax.benchmarks.other_process import beside_pytorch
from medslip_jax.benchmarks.timing import machine
from medslip_jax.benchmarks.traced import trace_step
from medslip_jax.experiment.sections import LossConfig, OptimConfig
from medslip_jax.models import MeDSLIPConfig
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import Trainer, jit_init, jit_train_step
from medslip_jax.testing import synthetic_batch, tiny_books
from medslip_jax.text.books import TextBooks

Losses = Literal["looped", "whole"]
Dtype = Literal["float32", "bfloat16"]
DTYPES: dict[str, Dtype] = {"fp32": "float32", "bf16": "bfloat16"}


def bench_step(
    *,
    batch: int = 16,
    image_size: int = 224,
    precision: str = "fp32",
    rounds: int = 5,
    trace: str | Path | None = None,
) -> dict:
    """Seconds of a step on random images and labels; about one label in fifty is mentioned, half of them present.

    Args:
      batch: images of a step.
      image_size: side in pixels.
      precision: "fp32" or "bf16"; PyTorch always computes in float32.
      rounds: steps of each variant that count.
      trace: a directory for the profile of one more step.

    Returns:
      "step_seconds_median" with lowest and highest; "pytorch" {"looped", "whole"}: the same of the released arithmetic
      with its losses a class at a time, and as products (`torch_step`), and "times_as_fast" as either; "trace" with
      where the time of the traced step went (`traced.trace_step`).
    """
    books = tiny_books(768)
    images = synthetic_batch(batch, image_size=image_size)
    step = jax_step(books, images, dtype=DTYPES[precision])
    theirs = {losses: functools.partial(torch_step, books, images, losses=losses) for losses in get_args(Losses)}
    found = beside_pytorch(step["run"], theirs, rounds=rounds)
    ours = found.pop("jax")
    traced = {"trace": trace_step(step["run"], step["hlo"](), trace)} if trace else {}
    return {
        **{f"step_{key}": value for key, value in ours.items()},
        "pytorch": found,
        "times_as_fast": {name: v["seconds_median"] / ours["seconds_median"] for name, v in found.items()},
        **traced,
        "batch": batch,
        "image_size": image_size,
        "precision": precision,
        "devices": [jax.device_count(), jax.default_backend()],
        **machine(),
    }


def paper_trainer(books: TextBooks, *, dtype: Dtype) -> Trainer:
    """The paper's model with the released losses and optimiser."""
    model = MeDSLIPConfig(dtype=dtype)
    return Trainer(
        model=model, loss=LossConfig(), optim=OptimConfig(), books=books, num_steps=1000, steps_per_epoch=100
    )


def jax_step(books: TextBooks, images: dict[str, np.ndarray], *, dtype: Dtype) -> dict:
    """{"run": does a step of training and waits, "peak": bytes that its program needs, "hlo": gives its text}."""
    trainer = paper_trainer(books, dtype=dtype)
    mesh = sharding.make_mesh()
    held = {"state": jit_init(trainer, mesh, image_size=images["image"].shape[1])()}
    batch = sharding.put_batch(mesh, images)
    step = jit_train_step(trainer, mesh, held["state"]).lower(held["state"], batch).compile()

    def run() -> None:
        held["state"], metrics = step(held["state"], batch)
        jax.block_until_ready((held["state"], metrics))

    return {"run": run, "peak": read_memory(step.memory_analysis())["total"], "hlo": step.as_text}


def torch_step(books: TextBooks, images: dict[str, np.ndarray], *, losses: Losses) -> Callable[[], object]:
    from medslip_jax.benchmarks.torch_step import TorchStep

    step = TorchStep({"pathology": books.pathology, "anatomy": books.anatomy}, losses=losses)
    return lambda: step(images)
