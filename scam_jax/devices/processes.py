"""Being one process of several: finding the others, stopping together, ending together."""

import dataclasses
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils

_TOGETHER = (
    "give --coordinator=HOST:PORT of process 0, --num_processes and --process_id to every process"
)


@dataclasses.dataclass(frozen=True)
class Launcher:
    """What started this process along with others, and tells JAX of them.

    Attributes:
      name: JAX's own name of it.
      sees_only_its_devices: all visible devices are this process's; else JAX gives each process of
        a host one of the host's GPUs.
    """

    name: str
    sees_only_its_devices: bool


def find_launcher(environment: Mapping[str, str], platforms: str | None) -> Launcher | None:
    """What started several processes; None for a process on its own, which JAX would not start.

    Args:
      environment: the environment's variables, as they are after JAX was imported.
      platforms: `jax.config.jax_platforms`, which names TPUs where they are to be used.

    Raises:
      ValueError: several processes were started by what JAX does not know.
    """
    # In the order of precedence that JAX has: mpirun may itself have been started by srun.
    return (
        _open_mpi(environment)
        or _slurm(environment)
        or _cloud_tpu(environment, platforms)
        or _unknown(environment)
    )


def _open_mpi(environment: Mapping[str, str]) -> Launcher | None:
    if _number(environment, "OMPI_COMM_WORLD_SIZE") <= 1:
        return None
    if "OMPI_MCA_orte_hnp_uri" not in environment:
        raise ValueError(
            "started by Open MPI 5 or newer, which does not tell JAX where process 0 is: "
            f"{_TOGETHER}, the last as --process_id=$OMPI_COMM_WORLD_RANK; or use srun"
        )
    alone = _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE") == 1
    return Launcher("ompi", alone or _sees_one_gpu(environment))


def _slurm(environment: Mapping[str, str]) -> Launcher | None:
    # Of the step: the job's SLURM_NTASKS is also set in a shell of salloc, where one process runs.
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS")
    if tasks <= 1:
        return None
    one_a_node = tasks == _number(environment, "SLURM_STEP_NUM_NODES")
    return Launcher("slurm", one_a_node or _sees_one_gpu(environment))


def _cloud_tpu(environment: Mapping[str, str], platforms: str | None) -> Launcher | None:
    if "tpu" not in (platforms or "").split(","):
        return None
    hosts = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
    if hosts is not None:
        several = "," in hosts or _number(environment, "MEGASCALE_NUM_SLICES") > 1
        return Launcher("gketpu", True) if several else None
    # A TPU VM's metadata server says how many hosts there are, be it one.
    return None if "TPU_SKIP_MDS_QUERY" in environment else Launcher("gcetpu", True)


def _unknown(environment: Mapping[str, str]) -> None:
    if _number(environment, "PMI_SIZE") > 1:
        raise ValueError(
            f"PMI_SIZE = {environment['PMI_SIZE']}: started by an MPI that JAX does not know: "
            f"{_TOGETHER}, the last as --process_id=$PMI_RANK; or use srun"
        )


def _sees_one_gpu(environment: Mapping[str, str]) -> bool:
    gpus = environment.get("CUDA_VISIBLE_DEVICES", "")
    return gpus != "" and "," not in gpus


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "1")
    if not value.isdigit():
        raise ValueError(f"{name} = {value!r} in the environment is not a number: unset it")
    return int(value)


def from_flags(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is to be told; None if no flag is given.

    Raises:
      ValueError: names the flag that is missing or wrong.
    """
    given = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing: {_TOGETHER}, or none of the three")
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(
            f"--coordinator={coordinator}: use HOST:PORT, a name or address of process 0's host "
            "and a free port there, such as node0:1234"
        )
    if num_processes < 1:
        raise ValueError(f"--num_processes={num_processes}: use 1 or more")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id={process_id}: the {num_processes} of --num_processes are numbered "
            f"0 … {num_processes - 1}"
        )
    return {
        "coordinator_address": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes, if this is one of several; logs which of how many it is.

    The flags say who they are, or the launcher does. To be called before any device is used.

    Raises:
      ValueError: the flags are wrong, or nothing says where the other processes are.
    """
    arguments = from_flags(coordinator, num_processes, process_id)
    if arguments is not None:
        logging.info("process %d of %d: joining at %s", process_id, num_processes, coordinator)
        # Else JAX would still take the devices from the launcher.
        jax.distributed.initialize(**arguments, cluster_detection_method="deactivate")
    else:
        launcher = find_launcher(os.environ, jax.config.jax_platforms)
        if launcher is not None:
            _join_by(launcher)
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise ValueError(
            f"there are {jax.process_count()} processes, but nothing says where: {_TOGETHER}"
        )
    logging.info(
        "process %d of %d, %d local of %d devices (%s)",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
        jax.devices()[0].device_kind,
    )


def _join_by(launcher: Launcher) -> None:
    logging.info("joining the processes that %s names", launcher.name)
    jax.distributed.initialize(cluster_detection_method=launcher.name)
    if launcher.sees_only_its_devices and "JAX_LOCAL_DEVICE_IDS" not in os.environ:
        for vendor in ("cuda", "rocm"):
            name = f"jax_{vendor}_visible_devices"
            jax.config.update(name, os.environ.get(name.upper(), "all"))


class StopRequest:
    """Notes the first Ctrl-C or SIGTERM, so that the loop can save; a second Ctrl-C kills.

    Of several processes, all stop after the same step if any is told to.
    """

    def __init__(self):
        self.signal = signal.SIGTERM
        self._noted, self._steps = False, 0
        signal.signal(signal.SIGINT, self._note)
        # JAX has its own handler of SIGTERM, which tells the other processes.
        if not jax.distributed.is_initialized():
            signal.signal(signal.SIGTERM, self._note)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`, to be asked after every one."""
        if not jax.distributed.is_initialized():
            return self._noted
        # Counted from 1, not from where the run goes on: JAX takes 0 for who has not yet asked.
        self._steps += 1
        return multihost_utils.reached_preemption_sync_point(self._steps)

    def _note(self, number, frame):
        self._noted, self.signal = True, number
        signal.signal(number, signal.SIG_DFL)
        logging.warning("%s: saving and stopping", signal.Signals(number).name)
        if jax.distributed.is_initialized():
            signal.raise_signal(signal.SIGTERM)


def end_by_error() -> None:
    """Exits with 1 at once: Python would first wait minutes for the others, which cannot go on."""
    if jax.distributed.is_initialized():
        sys.stderr.flush()
        os._exit(1)
    sys.exit(1)
