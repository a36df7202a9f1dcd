"""Mesh, batch placement and the parameter rule: the only file that knows devices."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from medslip_jax.errors import InputError

AXES = ("data", "fsdp")


def make_mesh(*, data: int = -1, fsdp: int = 1, devices: list[jax.Device] | None = None) -> Mesh:
    """All devices, of all processes, as a (data, fsdp) mesh; fsdp = 1 is plain data parallelism, the default.

    Args:
      data: copies of the parameters; -1 for as many as the devices give.
      fsdp: devices that share one copy of the parameters and of the optimiser's state.
      devices: the devices to use; all of them if None.

    Raises:
      InputError: data x fsdp is not the device count.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise InputError(f"mesh.fsdp={fsdp} does not divide the {len(devices)} devices")
    if data not in (-1, len(devices) // fsdp):
        raise InputError(
            f"mesh.data={data} x mesh.fsdp={fsdp} is not the number of devices, {len(devices)}; mesh.data=-1 takes "
            "what there is"
        )
    # make_mesh defaults to Explicit axes, which linen code does not accept (DESIGN, traps).
    return jax.make_mesh((len(devices) // fsdp, fsdp), AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def batch_norm_groups(mesh: Mesh, *, devices: int) -> int:
    """Groups of `mesh.batch_norm_devices` devices with batch statistics of their own; 0 = one of all devices."""
    if devices < 0 or (devices and mesh.size % devices):
        raise InputError(f"mesh.batch_norm_devices={devices} does not divide the {mesh.size} devices")
    return mesh.size // devices if devices else 1


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


def check_batch_size(mesh: Mesh, batch_size: int, *, key: str, parts: int = 1) -> None:
    """`InputError` naming the config key unless every device gets the same number of images, at least one.

    Args:
      mesh: the devices.
      batch_size: images of a batch.
      key: of the config, for the message.
      parts: optim.accumulate, how many parts a batch is computed in.
    """
    if batch_size < 1 or batch_size % (mesh.size * parts):
        times = f" times optim.accumulate={parts}" if parts > 1 else ""
        raise InputError(f"{key}={batch_size} must be a positive multiple of the {mesh.size} device(s){times}")


def put_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This host's part of a batch -> global arrays split over the mesh."""
    sharding = batch_sharding(mesh)
    return {key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()}


def place(tree, *, like):
    """Host arrays, the same in every process, -> global arrays of the dtype and placement of `like`'s leaves.

    No leaf shares memory with what was given: a training step donates its state.
    """

    def one(old: jax.Array, new) -> jax.Array:
        host = np.array(new, old.dtype)
        return jax.make_array_from_callback(host.shape, old.sharding, lambda index: host[index])

    return jax.tree.map(one, like, tree)


def to_host(mesh: Mesh, tree):
    """Global arrays in any placement -> numpy arrays, whole in every process; all processes have to call it."""
    whole = jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(np.asarray, jax.device_get(whole))
