"""The parts of `medslip bench device` that JAX does, on its first device."""

import dataclasses
import functools
import time
from typing import Any

import jax

from data_pipelines.loading import usable_cores
from medslip_jax.aot.compiled import read_memory
from medslip_jax.benchmarks.device_sizes import SIZES, Part, Size, jax_parts
from medslip_jax.benchmarks.loader import bench_to_device
from medslip_jax.benchmarks.parity import check_parity
from medslip_jax.benchmarks.step import DTYPES, paper_trainer
from medslip_jax.benchmarks.timing import in_a_row
from medslip_jax.parallel import sharding
from medslip_jax.parallel.chips import peak_flops
from medslip_jax.parallel.flops import program_flops
from medslip_jax.step.train_step import Trainer, eval_step, eval_variables, jit_init, jit_train_step
from medslip_jax.testing import synthetic_batch, tiny_books

_MOST_WORKERS = 8


class JaxParts:
    """Golden parity, steps, inference and the loader, by the size asked for."""

    def __init__(self, size: Size):
        # A program that is found in the cache says nothing of how long compiling takes.
        jax.config.update("jax_enable_compilation_cache", False)
        self._size, self._device = size, jax.devices()[0]
        self._mesh = sharding.make_mesh(devices=[self._device])
        self.parts = jax_parts(size, platform=self._device.platform)

    def described(self) -> dict:
        """What computes."""
        peak = peak_flops(self._device.device_kind)
        return {
            "platform": self._device.platform,
            "device_kind": self._device.device_kind,
            "devices_here": jax.local_device_count(),
            "peak_bf16_flops": peak or "unknown",
        }

    def measure(self, part: Part) -> dict:
        """The row of a part; raises whatever XLA does."""
        if part.kind == "golden parity" and self._size.model != SIZES["paper"].model:
            return part.row("left out", why="it is of the paper's model")
        if part.kind == "golden parity":
            found = check_parity()
            why = {} if found["passed"] else {"why": "errors above the limits"}
            return part.row("ok" if found["passed"] else "failed", **found, **why)
        if part.kind == "loader to device":
            workers = min(usable_cores(), _MOST_WORKERS)
            options = {"image_size": self._size.image_size, "batches": self._size.loader_batches}
            return part.row("ok", **bench_to_device(self._mesh, workers=workers, **options))
        return part.row("ok", **self._rate(part), **memory_in_use(self._device))

    def _rate(self, part: Part) -> dict:
        trainer = self._trainer(part.precision)
        state = jit_init(trainer, self._mesh, image_size=self._size.image_size)()
        batch = sharding.put_batch(self._mesh, synthetic_batch(part.batch, image_size=self._size.image_size))
        held = {"state": state}
        args: tuple[Any, ...]
        if part.kind == "step":
            lowered, args = jit_train_step(trainer, self._mesh, state), (state, batch)
        else:
            lowered = jax.jit(functools.partial(eval_step, trainer))
            args = (eval_variables(state), {"image": batch["image"]})
        start = time.perf_counter()
        compiled = lowered.lower(*args).compile()
        compile_seconds = time.perf_counter() - start

        def step():
            held["state"], metrics = compiled(held["state"], batch)
            return held["state"], metrics

        advance = step if part.kind == "step" else functools.partial(compiled, *args)
        times = in_a_row(advance, wait=jax.block_until_ready, seconds=self._size.seconds)
        return {
            "images_per_second": part.batch / times["seconds_median"],
            **times,
            **utilisation(compiled, seconds=times["seconds_median"], device_kind=self._device.device_kind),
            "memory_bytes": read_memory(compiled.memory_analysis())["total"],
            "compile_seconds": compile_seconds,
        }

    def _trainer(self, precision: str) -> Trainer:
        dtype = DTYPES[precision]
        trainer = paper_trainer(tiny_books(self._size.model.text_dim), dtype=dtype)
        return dataclasses.replace(trainer, model=dataclasses.replace(self._size.model, dtype=dtype))


def utilisation(compiled, *, seconds: float, device_kind: str) -> dict:
    """{"flops": of the program (`program_flops`), "mfu": share of the bfloat16 peak}, each perhaps "unknown"."""
    flops, peak = program_flops(compiled), peak_flops(device_kind)
    return {"flops": flops or "unknown", "mfu": flops / seconds / peak if flops and peak else "unknown"}


def memory_in_use(device: jax.Device) -> dict:
    """{"peak_bytes": the most that this process has used so far, "limit_bytes"}; {} where the device does not say."""
    stats = device.memory_stats() or {}
    names = {"peak_bytes": "peak_bytes_in_use", "limit_bytes": "bytes_limit"}
    return {name: stats[key] for name, key in names.items() if key in stats}
