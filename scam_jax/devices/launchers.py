"""Programs that start several processes, such as SLURM, as the environment tells of them."""

import dataclasses
from collections.abc import Mapping

REMEDY = (
    "give --coordinator=HOST:PORT of process 0, --num_processes and --process_id to every process"
)


@dataclasses.dataclass(frozen=True)
class Launcher:
    """A program that starts several processes and tells JAX about all of them.

    Attributes:
      name: JAX's name for the launcher.
      sees_only_its_devices: whether all visible devices belong to this process. If False, JAX
        assigns one GPU of the host to each of the host's processes.
    """

    name: str
    sees_only_its_devices: bool


def find_launcher(environment: Mapping[str, str], platforms: str | None) -> Launcher | None:
    """Finds the launcher that started this process together with others.

    Args:
      environment: the environment variables, read after JAX was imported.
      platforms: `jax.config.jax_platforms`, which lists 'tpu' if TPUs are to be used.

    Returns:
      The launcher, or None if this process runs alone.

    Raises:
      ValueError: there are several processes, but JAX does not support their launcher.
    """
    # JAX's order of precedence, because srun may have started mpirun.
    launcher = _open_mpi(environment) or _slurm(environment) or _cloud_tpu(environment, platforms)
    if launcher is None:
        _refuse_unknown(environment)
    return launcher


def _open_mpi(environment: Mapping[str, str]) -> Launcher | None:
    if _number(environment, "OMPI_COMM_WORLD_SIZE") <= 1:
        return None
    if "OMPI_MCA_orte_hnp_uri" not in environment:
        raise ValueError(
            "started by Open MPI 5 or newer, which does not tell JAX where process 0 is: "
            f"{REMEDY} (with --process_id=$OMPI_COMM_WORLD_RANK), or use srun"
        )
    alone = _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE") == 1
    return Launcher("ompi", alone or _sees_one_gpu(environment))


def _slurm(environment: Mapping[str, str]) -> Launcher | None:
    # Not SLURM_NTASKS, which is also set in a shell of salloc, where a single process runs.
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS")
    if tasks <= 1:
        return None
    one_per_node = tasks == _number(environment, "SLURM_STEP_NUM_NODES")
    return Launcher("slurm", one_per_node or _sees_one_gpu(environment))


def _cloud_tpu(environment: Mapping[str, str], platforms: str | None) -> Launcher | None:
    if "tpu" not in (platforms or "").split(","):
        return None
    hosts = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
    if hosts is not None:
        several = "," in hosts or _number(environment, "MEGASCALE_NUM_SLICES") > 1
        return Launcher("gketpu", True) if several else None
    # The metadata server of a TPU VM tells JAX the number of hosts, even if there is only one.
    return None if "TPU_SKIP_MDS_QUERY" in environment else Launcher("gcetpu", True)


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    if _number(environment, "PMI_SIZE") > 1:
        raise ValueError(
            f"PMI_SIZE = {environment['PMI_SIZE']}: started by an MPI that JAX does not know: "
            f"{REMEDY} (with --process_id=$PMI_RANK), or use srun"
        )


def _sees_one_gpu(environment: Mapping[str, str]) -> bool:
    gpus = environment.get("CUDA_VISIBLE_DEVICES", "")
    return gpus != "" and "," not in gpus


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "1")
    if not value.isdigit():
        raise ValueError(f"{name} = {value!r} in the environment is not a number: unset it")
    return int(value)
