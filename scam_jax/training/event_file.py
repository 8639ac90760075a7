"""An event file of TensorBoard, written at once and by the thread that calls.

The writer of tensorboardX has a thread of its own, which a full disk ends with a traceback.
"""

import os
import pathlib
import platform
import struct
import time

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c


class EventFile:
    """A new event file in a folder."""

    def __init__(self, folder: pathlib.Path, first_step: int):
        """Opens the file.

        Args:
          folder: the folder, created if needed.
          first_step: TensorBoard hides what older files have from this step on.

        Raises:
          OSError: the file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{now:.0f}.{platform.node()}.{os.getpid()}.{time.time_ns()}"
        # Unbuffered, so that nothing is left to write when the file is closed.
        self._file = (folder / name).open("xb", buffering=0)
        self._add(file_version="brain.Event:2", step=first_step)
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

    def _add(self, **fields: object) -> None:
        data = Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(data))
        sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
        record = length + next(sums) + data + next(sums)
        try:
            written = self._file.write(record)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error
        if written != len(record):
            raise OSError(f"{self._file.name} could not be written whole: make room")
