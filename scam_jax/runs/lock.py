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
from etils import epath

from scam_jax import buckets
from scam_jax.runs import bucket_lock

FILE = "trainer.lock"


@contextlib.contextmanager
def locked(workdir: epath.Path) -> Iterator[None]:
    """Holds the lock of a run's folder, which is created if needed.

    The system releases the lock when the process ends, however it ends. A file that a killed
    process left behind therefore blocks nobody. For a bucket see `bucket_lock`.

    Raises:
      ValueError: another process trains the run; the message names it.
    """
    holder = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    content = json.dumps(holder).encode()
    if buckets.is_in_bucket(workdir):
        with bucket_lock.locked(workdir / FILE, content):
            yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    file = pathlib.Path(workdir / FILE)
    descriptor = _acquired(file)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
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
            raise bucket_lock.held(file) from None
        except OSError as error:
            logging.warning("%s cannot be locked (%s): start no second training", file, error)
            return descriptor
        # The last holder may have removed the file between opening and locking.
        if file.exists() and os.path.samestat(os.fstat(descriptor), file.stat()):
            return descriptor
        os.close(descriptor)
