"""The device mesh, the conversion of host batches to global arrays, and copies of trees."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

DATA = "data"
# Long enough for one process to prepare a data set while the others wait.
LONGEST_WAIT_MS = 24 * 60 * 60 * 1000


def make_mesh() -> Mesh:
    """Returns a mesh of the devices of all processes along one axis, which splits batches.

    The devices of a process are neighbours, so that it holds one part of each batch.
    `jax.make_mesh` does not promise this, and refuses the devices of several hosts or slices.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (DATA,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def wait_for_all(what: str) -> None:
    """Waits until every process has called this function.

    Unlike a collective operation, this does not fail if a process arrives half a minute after the
    others.

    Args:
      what: name of the barrier, unique in the program.
    """
    ocp.multihost.get_barrier_sync_fn()(key=what, timeout_ms=LONGEST_WAIT_MS)


@jax.jit
def _copied(tree):
    return jax.tree.map(jnp.copy, tree)


def copied(tree: Tree) -> Tree:
    """Returns a tree with the same values in other buffers, by one program.

    Copied one by one, each shape of an array would need a program of its own.
    """
    return _copied(tree)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Converts a batch to global arrays, split over all devices along axis 0.

    Args:
      batch: this host's share of the batch.
      mesh: the mesh of all devices.

    Returns:
      The whole batch as global arrays.
    """
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
