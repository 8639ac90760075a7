"""Runs of several processes: they find each other, stop together and exit together."""

import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils

# Seconds in which a coordinator has to answer.
_LONGEST_SEARCH = 45
_REMEDY = (
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
            f"{_REMEDY} (with --process_id=$OMPI_COMM_WORLD_RANK), or use srun"
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
            f"{_REMEDY} (with --process_id=$PMI_RANK), or use srun"
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
    """Converts the flags to arguments of `jax.distributed.initialize`.

    Args:
      coordinator: HOST:PORT of process 0, or None.
      num_processes: number of processes, or None.
      process_id: index of this process from 0, or None.

    Returns:
      The arguments, or None if no flag is given.

    Raises:
      ValueError: a flag is missing or wrong; the message names it.
    """
    given = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if coordinator is None or num_processes is None or process_id is None:
        raise ValueError(f"{' and '.join(missing)} missing: {_REMEDY}, or none of the three")
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(
            f"--coordinator={coordinator}: use HOST:PORT, the name or address of process 0's host "
            "and a free port on it, such as node0:1234"
        )
    if num_processes < 1:
        raise ValueError(f"--num_processes={num_processes}: use 1 or more")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id={process_id}: use 0 … {num_processes - 1} with "
            f"--num_processes={num_processes}"
        )
    return {
        "coordinator_address": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes, if there are several, and logs this process's index and devices.

    The flags or the launcher say where the other processes are. Call this before any device is
    used.

    Args:
      coordinator: HOST:PORT of process 0, or None.
      num_processes: number of processes, or None.
      process_id: index of this process from 0, or None.

    Raises:
      ValueError: the flags are wrong, or neither flags nor launcher say where the others are; there
        is no coordinator, or its port is taken; or there is no device of the kind asked for.
    """
    arguments = from_flags(coordinator, num_processes, process_id)
    if arguments is not None:
        logging.info("process %d of %d: joining at %s", process_id, num_processes, coordinator)
        _find_coordinator(arguments["coordinator_address"], arguments["process_id"])
        # Otherwise JAX would still take this process's devices from the launcher.
        jax.distributed.initialize(**arguments, cluster_detection_method="deactivate")
    else:
        launcher = find_launcher(os.environ, jax.config.jax_platforms)  # type: ignore[attr-defined]
        if launcher is not None:
            _join_by(launcher)
    _check_backend()
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise ValueError(
            f"there are {jax.process_count()} processes at unknown addresses: {_REMEDY}"
        )
    logging.info(
        "process %d of %d, %d local of %d devices (%s)",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
        jax.devices()[0].device_kind,
    )


def _find_coordinator(address: str, process_id: int) -> None:
    """Checks that the coordinator's port is free or, in other processes, that it answers.

    JAX itself would end this process without a word of explanation.
    """
    host, _, port = address.rpartition(":")
    if process_id == 0:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", int(port)))
            except OSError as error:
                raise ValueError(
                    f"--coordinator={address}: port {port} cannot be used on this host "
                    f"({error.strerror}): give every process another port"
                ) from error
        return
    deadline = time.monotonic() + _LONGEST_SEARCH
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except socket.gaierror as error:
            raise ValueError(
                f"--coordinator={address}: the host {host} is not known ({error.strerror})"
            ) from error
        except OSError as error:
            if time.monotonic() > deadline:
                raise ValueError(
                    f"--coordinator={address}: nobody answers there for {_LONGEST_SEARCH} s "
                    f"({error.strerror or error}): start process 0 there first, and let the "
                    "firewall pass the port"
                ) from error
        time.sleep(0.5)


def _check_backend() -> None:
    """Checks that JAX finds the devices that it is asked for.

    Raises:
      ValueError: it does not; says what to install.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX only asserts that there is a plug-in.
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
        reason = (str(error).strip() or "JAX has no plug-in for it").splitlines()[0]
        raise ValueError(
            f"JAX_PLATFORMS = {platforms or ''!r}: {reason}. Install JAX for these devices, pip "
            "install 'jax[tpu]' or 'jax[cuda13]', or unset JAX_PLATFORMS"
        ) from error


def _join_by(launcher: Launcher) -> None:
    logging.info("joining the processes that %s started", launcher.name)
    jax.distributed.initialize(cluster_detection_method=launcher.name)
    if launcher.sees_only_its_devices and "JAX_LOCAL_DEVICE_IDS" not in os.environ:
        for vendor in ("cuda", "rocm"):
            name = f"jax_{vendor}_visible_devices"
            jax.config.update(name, os.environ.get(name.upper(), "all"))


class StopRequest:
    """Records the first Ctrl-C or SIGTERM, so that the training loop can save and stop.

    It does so in a `with` block; outside, signals end the process as usual. A second Ctrl-C ends
    the process without saving. If one of several processes receives a signal, all of them stop
    after the same step.

    Attributes:
      signal: the signal that was received, or SIGTERM if JAX received it.
    """

    def __init__(self):
        self.signal = signal.SIGTERM
        self._noted, self._steps = False, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        # With several processes, JAX's own handler of SIGTERM tells the others.
        alone = not jax.distributed.is_initialized()
        for number in (signal.SIGINT, signal.SIGTERM) if alone else (signal.SIGINT,):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def reached(self, step: int) -> bool:
        """Returns whether to stop after `step`. Call this after every step."""
        if not jax.distributed.is_initialized():
            return self._noted
        # Counted from 1 even if the run was resumed: to JAX, 0 means "has not asked yet".
        self._steps += 1
        return multihost_utils.reached_preemption_sync_point(self._steps)

    def _note(self, number, frame):
        self._noted, self.signal = True, number
        signal.signal(number, signal.SIG_DFL)
        logging.warning(
            "%s: saving and stopping after this step; once more ends at once, without saving",
            signal.Signals(number).name,
        )
        if jax.distributed.is_initialized():
            signal.raise_signal(signal.SIGTERM)


def end(status: int) -> None:
    """Exits at once, also from one of several processes.

    Python would first wait minutes for the other processes, which cannot continue.
    """
    if jax.distributed.is_initialized():
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
