"""XLA's compiler for GPUs that are not on this machine: JAX's CUDA plug-in without the libraries of CUDA.

The plug-in's own compiler needs a description of the GPU (folder gpus, a file each) and no driver. What it tries out on
a device, which of several kernels is the fastest, it cannot try here: `OPTIONS` make it take the first.
"""

import functools
import importlib.metadata
import importlib.resources
import importlib.util
import os
from typing import Any

import jax
from jax.experimental import topologies

from medslip_jax.aot.compiled import one_line
from medslip_jax.errors import InputError
from medslip_jax.parallel.topologies import Topology

# Without a device to tune on, Triton finds no tile for some float32 products; cuBLAS is asked for all of them instead.
OPTIONS: dict[str, Any] = {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0}
NOTE = (
    "compiled without a GPU: what XLA's autotuner would choose on the device is not known; here cuBLAS and cuDNN are "
    "called for every product and convolution, each cuBLAS call with the largest workspace"
)
PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")


def gpu_devices(topology: Topology) -> list[jax.Device]:
    """Devices that are described and not there.

    Raises:
      InputError: JAX's CUDA plug-in is missing, or does not know the description.
    """
    if not installed():
        version = importlib.metadata.version("jax")
        raise InputError(
            f"--topology {topology.name}: JAX's CUDA plug-in is not installed; pip install --no-deps "
            f"jax-cuda12-plugin=={version} jax-cuda12-pjrt=={version}"
        )
    # The plug-in says of a machine without a driver that it has none, in a line for each process that asks.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    jax.config.update("jax_platforms", "cpu")
    nodes, each = topology.shape
    try:
        found = topologies.get_topology_desc(
            platform="cuda",
            topology_name=topology.chip.name,
            topology=f"{nodes}x1x{each}",
            target_config=description(topology.chip.name),
        )
    except (jax.errors.JaxRuntimeError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"--topology {topology.name}: the CUDA plug-in refuses it ({one_line(error)})") from error
    return found.devices


def installed() -> bool:
    """Whether JAX finds its CUDA plug-in here."""
    try:
        return any(importlib.util.find_spec(name) for name in PLUGINS)
    except ModuleNotFoundError:
        return False


@functools.cache
def description(name: str) -> str:
    """The description of a GPU in the text form of XLA's message GpuTargetConfigProto, by the name in a topology."""
    return (importlib.resources.files("medslip_jax.aot") / "gpus" / f"{name}.txtpb").read_text()


def compile_for_gpu(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiled with those of `OPTIONS` that this XLA knows; it refuses others before it starts, with their name."""
    options = dict(OPTIONS)
    while True:
        try:
            return lowered.compile(compiler_options=dict(options))
        except jax.errors.JaxRuntimeError as error:
            refused = [name for name in options if f"No such compile option: '{name}'" in str(error)]
            if not refused:
                raise
            del options[refused[0]]
