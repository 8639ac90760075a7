"""An event file of TensorBoard, written at once and by the thread that calls.

The writer of tensorboardX has a thread of its own, which a full disk ends with a traceback. In a
bucket, where nothing can be appended, the file is sent whole from time to time.
"""

import io
import os
import platform
import struct
import time
from typing import Any

import numpy as np
from etils import epath
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from scam_jax import buckets

# In a bucket: how often the file is sent, and from which size on another one follows it.
SECONDS_BETWEEN, MOST_BYTES = 60, 2**24


class EventFile:
    """A new event file in a folder; in a bucket, one file after another."""

    _file: Any

    def __init__(self, folder: epath.Path, first_step: int):
        """Opens the file.

        Args:
          folder: the folder, created if needed.
          first_step: TensorBoard hides what older files have from this step on.

        Raises:
          OSError: the file cannot be written.
        """
        self._folder = folder
        self._open(first_step)
        self._add(session_log=SessionLog(status=SessionLog.START), step=first_step)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Writes a number."""
        self._add(summary=summary.scalar(name, value), step=step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Writes a picture `uint8 [H, W, 3]`."""
        self._add(summary=summary.image(name, image, dataformats="HWC"), step=step)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _open(self, step: int) -> None:
        now = time.time()
        name = f"events.out.tfevents.{now:.0f}.{platform.node()}.{os.getpid()}.{time.time_ns()}"
        if buckets.is_in_bucket(self._folder):
            self._file = _Sent(self._folder / name)
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that nothing is left to write when the file is closed.
            self._file = io.FileIO(self._folder / name, "x")
        self._add(file_version="brain.Event:2", step=step)

    def _add(self, step: int, **fields: object) -> None:
        if isinstance(self._file, _Sent) and self._file.is_full():
            self._file.close()
            self._open(step)
        data = Event(wall_time=time.time(), step=step, **fields).SerializeToString()
        length = struct.pack("<Q", len(data))
        sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
        record = length + next(sums) + data + next(sums)
        try:
            written = self._file.write(record)
        except OSError as error:
            if error.errno is None:  # A bucket's error names the bucket.
                raise
            raise OSError(error.errno, error.strerror, self._file.name) from error
        if written != len(record):
            raise OSError(f"{self._file.name} could not be written whole: make room")


class _Sent:
    """A growing object of a bucket, sent whole from time to time and when it is closed."""

    def __init__(self, place: epath.Path):
        self.name, self._place = str(place), place
        self._content = bytearray()
        self._last = time.monotonic()

    def is_full(self) -> bool:
        return len(self._content) > MOST_BYTES

    def write(self, record: bytes) -> int:
        self._content += record
        if time.monotonic() - self._last > SECONDS_BETWEEN:
            self._send()
        return len(record)

    def close(self) -> None:
        self._send()

    def _send(self) -> None:
        self._place.write_bytes(bytes(self._content))
        self._last = time.monotonic()
