"""One run, one trainer: the lock of a run's folder."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from absl import logging

FILE = "trainer.lock"


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a run's folder, which is created if needed.

    The system releases the lock when the process ends, however it ends. A file that a killed
    process left behind therefore blocks nobody.

    Raises:
      ValueError: another process trains the run; the message names it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / FILE
    descriptor = _acquired(file)
    try:
        holder = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _acquired(file: pathlib.Path) -> int:
    """Opens and locks the file; returns its descriptor."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ValueError(
                f"{file.parent} is being trained by another process ({_holder(file)}): wait for "
                "it, stop it, or give another --workdir"
            ) from None
        except OSError as error:
            logging.warning("%s cannot be locked (%s): start no second training", file, error)
            return descriptor
        # The last holder may have removed the file between opening and locking.
        if file.exists() and os.path.samestat(os.fstat(descriptor), file.stat()):
            return descriptor
        os.close(descriptor)


def _holder(file: pathlib.Path) -> str:
    try:
        holder = json.loads(file.read_text())
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "which has just started"
