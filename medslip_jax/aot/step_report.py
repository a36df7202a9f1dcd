"""All that `medslip compile` says of a step, as one JSON-ready dict."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from medslip_jax.aot import gpu_compiler, lowering
from medslip_jax.aot.compiled import largest_batch, roofline
from medslip_jax.aot.evaluation_program import lower_evaluation
from medslip_jax.aot.step_shapes import Step, step_of
from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import Experiment, replaced
from medslip_jax.models.kinds import kind_of
from medslip_jax.parallel import sharding
from medslip_jax.parallel.topologies import Topology
from medslip_jax.version import __version__

_SHARE = 0.75
_PREALLOCATED = (
    "JAX takes {:.0f} % of a GPU's memory unless the environment says XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 or the like, "
    "which this program needs"
)


def compile_report(
    experiment: Experiment, *, topology: Topology, per_chip: int | None = None, evaluation: bool = True
) -> dict[str, Any]:
    """Compiles a train step for a slice or for GPUs, and the program of its validation.

    Args:
      experiment: pre-training or fine-tuning.
      topology: the slice.
      per_chip: images a chip, in place of data.batch_size over the chips.
      evaluation: False leaves the second program out.

    Returns:
      Besides what was asked for, what `lowering.compile_step` gives, "roofline" (None where its counts are not known),
      "largest" (of `largest_batch`), "evaluation" ({"batch_size", "fits", "needs", "error", "seconds"} or None), and
      "notes" on what stands in for something that is not on this machine.

    Raises:
      InputError: the config cannot be trained on the slice, or the compiler is missing.
    """
    mesh = lowering.mesh_of(topology, data=experiment.mesh.data, fsdp=experiment.mesh.fsdp)
    if per_chip is not None:
        experiment = replaced(experiment, data={"batch_size": per_chip * mesh.size})
    parts = experiment.optim.accumulate
    try:
        sharding.check_batch_size(mesh, experiment.data.batch_size, key="data.batch_size", parts=parts)
    except InputError as error:
        raise InputError(f"{error}; --per_chip N sets it to N images a chip") from error
    step = step_of(experiment, mesh=mesh)
    per_chip = experiment.data.batch_size // mesh.size
    found = lowering.compile_step(step, mesh=mesh, topology=topology, per_chip=per_chip)
    needs, limit = found["needs"], found["memory_limit"]
    return {
        **_asked(experiment, topology=topology, mesh=mesh),
        **found,
        "largest": largest_batch(per_chip, needs=needs, limit=limit, multiple=parts) if needs else None,
        "roofline": _roofline(found["program"], topology=topology, per_chip=per_chip),
        "evaluation": _evaluation(experiment, step, mesh=mesh, topology=topology) if evaluation else None,
        "notes": [*step.notes, *_gpu_notes(topology, needs=needs, limit=limit)],
        "versions": {name: _version(name) for name in ("jax", "jaxlib", topology.compiler)}
        | {"medslip_jax": __version__},
    }


def _evaluation(experiment: Experiment, step: Step, *, mesh: Mesh, topology: Topology) -> dict[str, Any]:
    """Whether a validation batch fits, beside what only training reads."""
    asked = {"batch_size": experiment.eval.batch_size}
    try:
        lowered, held = lower_evaluation(experiment, step, mesh=mesh)
    except InputError as error:
        return asked | {"fits": False, "needs": None, "error": str(error), "seconds": 0.0}
    found = lowering.compile_lowered(lowered, topology=topology, held=held)
    return asked | {key: found[key] for key in ("fits", "needs", "error", "seconds")}


def _gpu_notes(topology: Topology, *, needs: float | None, limit: float) -> list[str]:
    if topology.chip.platform != "cuda":
        return []
    more = [_PREALLOCATED.format(100 * _SHARE)] if needs and _SHARE * limit < needs <= limit else []
    return [gpu_compiler.NOTE, *more, *([topology.chip.note] if topology.chip.note else [])]


def _asked(experiment: Experiment, *, topology: Topology, mesh: Mesh) -> dict[str, Any]:
    """What was compiled, and for what."""
    batch_size = experiment.data.batch_size
    return {
        "topology": {
            "name": topology.name,
            "chips": topology.chips,
            "hosts": topology.hosts,
            "chips_per_host": topology.chips_per_host,
            "device_kind": mesh.devices.flat[0].device_kind,
            "mesh": dict(mesh.shape),
        },
        "chip": {key: getattr(topology.chip, key) for key in ("peak_flops", "hbm_bytes", "hbm_gib", "usable_gib")},
        "batch": {"total": batch_size, "per_chip": batch_size // mesh.size},
        "image_size": experiment.data.image_size,
        "model": f"{kind_of(experiment.model)} with {experiment.model.backbone}",
        "dtype": experiment.model.dtype,
    }


def _roofline(program: Mapping | None, *, topology: Topology, per_chip: int) -> dict[str, Any] | None:
    flops, hbm = (((program or {}).get(part) or {}).get(key) for part, key in (("cost", "flops"), ("traffic", "hbm")))
    return None if flops is None or hbm is None else roofline(flops, hbm=hbm, chip=topology.chip, per_chip=per_chip)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # libtpu by TPU_LIBRARY_PATH.
        return "unknown"
