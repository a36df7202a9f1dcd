"""All that `medslip compile` says of a step, as one JSON-ready dict."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from medslip_jax.aot import lowering
from medslip_jax.aot.compiled import largest_batch, roofline
from medslip_jax.aot.step_shapes import step_of
from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import Experiment, replaced
from medslip_jax.models.kinds import kind_of
from medslip_jax.parallel import sharding
from medslip_jax.parallel.topologies import Topology
from medslip_jax.version import __version__

_LOOP = (
    "optim.accumulate={}: XLA counts what is in a loop once, so FLOPs, bytes and collectives are those of one part and "
    "the update; --config.optim.accumulate=1 has a roofline"
)


def compile_report(experiment: Experiment, *, topology: Topology, per_chip: int | None = None) -> dict[str, Any]:
    """Compiles a train step for a slice.

    Args:
      experiment: pre-training or fine-tuning.
      topology: the slice.
      per_chip: images a chip, in place of data.batch_size over the chips.

    Returns:
      Besides what was asked for, what `lowering.compile_step` gives, "roofline" (None where its counts are not known),
      "largest" (of `largest_batch`, None where the step fits), and "notes" on what stands in for something that is not
      on this machine.

    Raises:
      InputError: the config cannot be trained on the slice, or libtpu is missing.
    """
    mesh = lowering.tpu_mesh(topology, data=experiment.mesh.data, fsdp=experiment.mesh.fsdp)
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
    known = not found["fits"] and needs is not None
    return {
        **_asked(experiment, topology=topology, mesh=mesh),
        **found,
        "largest": largest_batch(per_chip, needs=needs, limit=limit, multiple=parts) if known else None,
        "roofline": _roofline(found["program"], topology=topology, per_chip=per_chip) if parts == 1 else None,
        "notes": [*step.notes, *([_LOOP.format(parts)] if parts > 1 else [])],
        "versions": {name: _version(name) for name in ("jax", "jaxlib", "libtpu")} | {"medslip_jax": __version__},
    }


def _asked(experiment: Experiment, *, topology: Topology, mesh: Mesh) -> dict[str, Any]:
    """What was compiled, and for what."""
    batch_size = experiment.data.batch_size
    return {
        "topology": {
            "name": topology.name,
            "chips": topology.chips,
            "hosts": topology.hosts,
            "chips_per_host": min(topology.chips, topology.chip.chips_per_host),
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
