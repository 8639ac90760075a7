"""The device mesh, and host batches as global arrays."""

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA = "data"
# For a data set to be prepared by one process.
LONGEST_WAIT_MS = 24 * 60 * 60 * 1000


def make_mesh() -> Mesh:
    """All devices of all processes along one axis, over which batches are split."""
    return jax.make_mesh((jax.device_count(),), (DATA,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def wait_for_all(what: str) -> None:
    """Returns when every process has come here; `what` is unique in the program.

    Not a collective: those give a process up that comes half a minute later than the others.
    """
    ocp.multihost.get_barrier_sync_fn()(key=what, timeout_ms=LONGEST_WAIT_MS)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This host's share of a batch as arrays split over all devices along axis 0."""
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
