"""The event file that TensorBoard reads."""

import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from scam_jax.training.event_file import EventFile


def records(file):
    """Parses TFRecords: length, its checksum, data, its checksum."""
    rest = file.read_bytes()
    while rest:
        (length,) = struct.unpack("<Q", rest[:8])
        assert struct.unpack("<I", rest[8:12])[0] == masked_crc32c(rest[:8])
        data, rest = rest[12 : 12 + length], rest[12 + length :]
        assert struct.unpack("<I", rest[:4])[0] == masked_crc32c(data)
        rest = rest[4:]
        yield Event.FromString(data)


def test_what_is_written_is_there_at_once(tmp_path):
    events = EventFile(tmp_path / "board", first_step=3)
    events.scalar("time/a", 0.5, 4)
    events.picture("panel", np.zeros((6, 4, 3), np.uint8), 5)
    (file,) = (tmp_path / "board").iterdir()
    version, start, scalar, picture = records(file)
    assert file.name.startswith("events.out.tfevents.")
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (3, SessionLog.START)
    assert (scalar.step, scalar.summary.value[0].tag) == (4, "time/a")
    assert scalar.summary.value[0].simple_value == 0.5
    image = picture.summary.value[0].image
    assert (picture.step, image.height, image.width) == (5, 6, 4)
    events.close()


def test_a_full_disk_is_one_error_that_names_the_file(tmp_path):
    events = EventFile(tmp_path, first_step=1)
    with open("/dev/full", "wb", buffering=0) as full:
        events._file = full
        with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
            events.scalar("a", 1.0, 1)
    # Nothing is left to write, which would fail here.
