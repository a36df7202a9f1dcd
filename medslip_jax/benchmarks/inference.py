"""Zero-shot inference of the paper's model on a batch, beside PyTorch where it is installed."""

import functools

import jax
import numpy as np

from medslip_jax.benchmarks.other_process import beside_pytorch
from medslip_jax.benchmarks.step import DTYPES, Dtype, paper_trainer
from medslip_jax.benchmarks.timing import machine
from medslip_jax.models.folding import fold
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import eval_step, eval_variables, jit_init
from medslip_jax.testing import synthetic_batch, tiny_books


def bench_inference(*, batch: int = 32, image_size: int = 224, precision: str = "fp32", rounds: int = 5) -> dict:
    """Images a second from uint8 images in memory to probabilities and attention maps.

    Args:
      batch: images at once.
      image_size: side in pixels.
      precision: "fp32" or "bf16", of both.
      rounds: batches of each variant that count.

    Returns:
      "images_per_second" (of the median), "pytorch": {"images_per_second", ...} and "times_as_fast".
    """
    books, images = tiny_books(768), synthetic_batch(batch, image_size=image_size)["image"]
    theirs = {"pytorch": functools.partial(torch_inference, books, images, precision=precision)}
    found = beside_pytorch(_jax(books, images, dtype=DTYPES[precision]), theirs, rounds=rounds)
    rates = {name: batch / times["seconds_median"] for name, times in found.items()}
    result = {"images_per_second": rates["jax"], **found["jax"]}
    if "pytorch" in found:
        result["pytorch"] = {"images_per_second": rates["pytorch"], **found["pytorch"]}
        result["times_as_fast"] = rates["jax"] / rates["pytorch"]
    return result | {"batch": batch, "image_size": image_size, "precision": precision, **machine()}


def _jax(books, images: np.ndarray, *, dtype: Dtype):
    trainer = paper_trainer(books, dtype=dtype)
    mesh = sharding.make_mesh()
    state = jit_init(trainer, mesh, image_size=images.shape[1])()
    variables = jax.device_put(fold(eval_variables(state)), sharding.replicated(mesh))
    step = jax.jit(functools.partial(eval_step, trainer))

    def run() -> None:
        jax.block_until_ready(step(variables, sharding.put_batch(mesh, {"image": images})))

    return run


def torch_inference(books, images: np.ndarray, *, precision: str):
    import torch

    from medslip_jax.weights.torch.torch_model import MeDSLIP, preprocess, probabilities

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = MeDSLIP(text_dim=books.pathology.shape[1]).eval().to(dtype)
    tables = [torch.as_tensor(book, dtype=dtype) for book in (books.pathology, books.anatomy)]

    def run() -> None:
        with torch.inference_mode():
            probabilities(model(preprocess(images).to(dtype), *tables))

    return run
