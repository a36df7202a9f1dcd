"""Mesh, batch placement and the parameter rule: the only file that knows devices."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from medslip_jax.errors import InputError

AXES = ("data", "fsdp")


def make_mesh(*, fsdp: int = 1, devices: list[jax.Device] | None = None) -> Mesh:
    """All devices as a (data, fsdp) mesh; fsdp = 1 is plain data parallelism, the default.

    Args:
      fsdp: devices that share one copy of the parameters; must divide the device count.
      devices: the devices to use; all of them if None.

    Raises:
      InputError: fsdp does not divide the device count.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise InputError(f"mesh.fsdp={fsdp} does not divide the {len(devices)} devices")
    # make_mesh defaults to Explicit axes, which linen code does not accept (DESIGN, traps).
    return jax.make_mesh((len(devices) // fsdp, fsdp), AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis of every batch array is split over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def state_sharding(mesh: Mesh, tree):
    """One sharding a leaf: split over "fsdp" on the largest axis it divides, else replicated.

    Args:
      mesh: from `make_mesh`.
      tree: arrays or ShapeDtypeStructs; vectors and scalars are replicated, as they are small.
    """
    size = mesh.shape["fsdp"]

    def rule(leaf) -> NamedSharding:
        axes = [i for i, n in enumerate(leaf.shape) if n % size == 0]
        if size == 1 or len(leaf.shape) < 2 or not axes:
            return replicated(mesh)
        largest = max(axes, key=lambda i: leaf.shape[i])
        return NamedSharding(mesh, PartitionSpec(*("fsdp" if i == largest else None for i in range(largest + 1))))

    return jax.tree.map(rule, tree)


def check_batch_size(mesh: Mesh, batch_size: int, *, key: str) -> None:
    """`InputError` naming the config key unless every device gets the same number of images, at least one."""
    if batch_size < 1 or batch_size % mesh.size:
        raise InputError(f"{key}={batch_size} must be a positive multiple of the {mesh.size} device(s)")


def put_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This host's part of a batch -> global arrays split over the mesh."""
    sharding = batch_sharding(mesh)
    return {key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()}
