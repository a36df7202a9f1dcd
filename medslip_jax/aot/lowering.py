"""The programs of a config, compiled for TPUs or GPUs on a machine that has none.

For TPUs libtpu holds the whole compiler, for GPUs JAX's CUDA plug-in (`gpu_compiler`); a description stands in for the
chips. The step is that of `train_step.jit_train_step` over `sharding.make_mesh`, lowered from the shapes of
`step_shapes`.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh

from medslip_jax.aot import gpu_compiler
from medslip_jax.aot.compiled import one_line, parse_too_large, read_program
from medslip_jax.aot.step_shapes import Step
from medslip_jax.errors import InputError
from medslip_jax.parallel import sharding
from medslip_jax.parallel.topologies import Topology
from medslip_jax.step.train_step import jit_init, jit_train_step

# Read when libtpu loads: otherwise it asks the network which slice it is on, and refuses to load twice on a machine.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}
_CACHE = "jax_enable_compilation_cache"


def mesh_of(topology: Topology, *, data: int = -1, fsdp: int = 1) -> Mesh:
    """The mesh of `sharding.make_mesh` over chips that are described and not there.

    Raises:
      InputError: their compiler is missing or does not know them.
    """
    cuda = topology.chip.platform == "cuda"
    devices = gpu_compiler.gpu_devices(topology) if cuda else _tpu_devices(topology)
    return sharding.make_mesh(data=data, fsdp=fsdp, devices=devices)


def _tpu_devices(topology: Topology) -> list[jax.Device]:
    if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
        raise InputError(f"--topology {topology.name}: libtpu is not installed; pip install '{libtpu_requirement()}'")
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    # Nothing runs here, and accelerators that this machine may have are left to those who use them.
    jax.config.update("jax_platforms", "cpu")
    options: dict[str, Any] = {"chip_config_name": topology.chip.config_name} if topology.chip.config_name else {}
    if topology.chips == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **options)
    except (jax.errors.JaxRuntimeError, RuntimeError) as error:
        raise InputError(f"--topology {topology.name}: libtpu has no such slice ({one_line(error)})") from error
    return found.devices


def libtpu_requirement() -> str:
    """The libtpu that the installed JAX asks for in its own metadata, such as "libtpu==0.0.42.*"."""
    for line in importlib.metadata.requires("jax") or ():
        if re.match(r"libtpu\b", line):
            return line.partition(";")[0].strip()
    return "libtpu"


def lower_step(step: Step, *, mesh: Mesh, per_chip: int) -> jax.stages.Lowered:
    """The step for `per_chip` images on each device of the mesh, from shapes alone."""
    state = jax.eval_shape(jit_init(step.parts, mesh, image_size=step.image_size))
    rows = per_chip * mesh.size
    batch = {key: jax.ShapeDtypeStruct((rows, *shape), dtype) for key, (shape, dtype) in step.batch.items()}
    return jit_train_step(step.parts, mesh, state).lower(state, batch)


def compile_step(step: Step, *, mesh: Mesh, topology: Topology, per_chip: int) -> dict[str, Any]:
    """Lowers, compiles and reads the train step.

    Returns:
      Of `compile_lowered`, with "seconds": {"lower", "compile"}.
    """
    started = time.monotonic()
    lowered = lower_step(step, mesh=mesh, per_chip=per_chip)
    lower = time.monotonic() - started
    found = compile_lowered(lowered, topology=topology)
    return found | {"seconds": {"lower": lower, "compile": found["seconds"]}}


def compile_lowered(lowered: jax.stages.Lowered, *, topology: Topology, held: int = 0) -> dict[str, Any]:
    """Compiles and reads; a compiler that gives up is a result, too.

    Args:
      lowered: a program.
      topology: for which chips.
      held: bytes a chip that are in memory beside the program.

    Returns:
      {"fits", "needs": bytes of memory a chip or None if nothing says so, "memory_limit": bytes that a program may
      have, "error": what the compiler said, one line, "" if it compiled, "program": of `read_program` or None,
      "seconds": to compile}.
    """
    started = time.monotonic()
    program, error, cuda = None, "", topology.chip.platform == "cuda"
    memory: dict[str, Any] = {"needs": None, "limit": topology.chip.usable_gib * 2**30}
    try:
        with _without_cache():
            compiled = gpu_compiler.compile_for_gpu(lowered) if cuda else lowered.compile()
    except jax.errors.JaxRuntimeError as failure:
        memory |= parse_too_large(str(failure)) or {}
        error = one_line(failure)
    else:
        program = read_program(compiled, layout=cuda)
        memory["needs"] = program["memory"].get("total")
    needs = memory["needs"] + held if memory["needs"] is not None else None
    return {
        "fits": program is not None and (needs is None or needs <= memory["limit"]),
        "needs": needs,
        "memory_limit": memory["limit"],
        "error": error,
        "program": program,
        "seconds": time.monotonic() - started,
    }


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Nothing is written to JAX's persistent cache: where no TPU is, it could not load the program again."""
    before = getattr(jax.config, _CACHE)
    _enable_cache(False)
    try:
        yield
    finally:
        _enable_cache(before)


def _enable_cache(value: bool) -> None:
    jax.config.update(_CACHE, value)
    # JAX looks at it once and remembers what it found.
    compilation_cache.reset_cache()
