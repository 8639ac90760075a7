"""Runs of several processes: they find each other, stop together and exit together."""

import os
import signal
import socket
import sys
import time
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils

from scam_jax.devices.launchers import REMEDY, Launcher, find_launcher

# Seconds in which a coordinator has to answer, as many as JAX's own.
_LONGEST_SEARCH = 300
# Seconds between two lines about it.
_PAUSE = 30


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
        raise ValueError(f"{' and '.join(missing)} missing: {REMEDY}, or none of the three")
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


def join(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    *,
    stop_together: bool = True,
) -> None:
    """Joins the other processes, if there are several, and logs this process's index and devices.

    The flags or the launcher say where the other processes are. Call this before any device is
    used.

    Args:
      coordinator: HOST:PORT of process 0, or None.
      num_processes: number of processes, or None.
      process_id: index of this process from 0, or None.
      stop_together: whether a `StopRequest` of several processes is to come. SIGTERM then takes
        effect there only; otherwise it ends the process, as usual.

    Raises:
      ValueError: the flags are wrong, or neither flags nor launcher say where the others are; there
        is no coordinator, or its port is taken; or there is no device of the kind asked for.
    """
    jax.config.update("jax_enable_preemption_service", stop_together)
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
            f"there are {jax.process_count()} processes at unknown addresses: {REMEDY}"
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
        except OSError as error:
            if time.monotonic() > deadline:
                raise ValueError(_nobody(address, error)) from error
            # A pod of Kubernetes has no name before it runs.
            logging.log_every_n_seconds(
                logging.INFO, "--coordinator=%s: %s; trying again", _PAUSE, address, error
            )
        time.sleep(0.5)


def _nobody(address: str, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        host = address.rpartition(":")[0]
        return f"--coordinator={address}: the host {host} is not known ({error.strerror})"
    return (
        f"--coordinator={address}: nobody answers there for {_LONGEST_SEARCH} s "
        f"({error.strerror or error}): start process 0 there first, and let the firewall pass the "
        "port"
    )


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
    try:
        jax.distributed.initialize(cluster_detection_method=launcher.name)
    except RuntimeError as error:
        raise ValueError(
            f"the processes that {launcher.name} started do not find each other "
            f"({' '.join(str(error).split())}): let the firewall pass their ports, or {REMEDY}"
        ) from error
    if launcher.sees_only_its_devices and "JAX_LOCAL_DEVICE_IDS" not in os.environ:
        for vendor in ("cuda", "rocm"):
            name = f"jax_{vendor}_visible_devices"
            jax.config.update(name, os.environ.get(name.upper(), "all"))


class StopRequest:
    """Records the first Ctrl-C or SIGTERM, so that the training loop can save and stop.

    It does so in a `with` block; outside, signals end the process as usual, except SIGTERM to one
    of several processes, which waits for the next block. A second Ctrl-C ends the process without
    saving. If one of several processes receives a signal, all of them stop after the same step.

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
