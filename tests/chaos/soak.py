"""A long run, whose memory, threads and open files stay level."""

import os
import pathlib
import signal
import statistics
import subprocess
import time
from typing import NamedTuple

from chaos.runs import Toy

# As many checkpoints an hour as a long training run has. Each costs 300 bytes an array: TensorStore
# 0.1.86 never frees what `to_json` returns.
RARELY = ("checkpoint_every=100", "panel_every=100")


class Sample(NamedTuple):
    """What a process holds at one moment."""

    megabytes: float
    threads: int
    files: int


def sample(process: int) -> Sample:
    """Reads what a process holds from /proc."""
    folder = pathlib.Path("/proc", str(process))
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    megabytes = int(status["VmRSS"].split()[0]) / 1000
    return Sample(megabytes, int(status["Threads"]), len(os.listdir(folder / "fd")))


def soak(toy: Toy, minutes: float) -> tuple[Sample, Sample]:
    """Trains for some minutes; returns the medians of the second and of the last third.

    Raises:
      AssertionError: the run ended by itself, or does not end on SIGTERM.
    """
    log = toy.folder / "soak"
    options = [f"--config.train.{option}" for option in ("num_steps=100000000", *RARELY)]
    (process,) = toy.start(toy.folder / "soaked", log, *options, "--config.eval.every=200")
    samples, end = [], time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        time.sleep(min(5.0, minutes))
        assert process.poll() is None, log.with_suffix(".0").read_text()[-5000:]
        samples.append(sample(process.pid))
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(120) == 128 + signal.SIGTERM
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    third = len(samples) // 3
    return _median(samples[third : 2 * third]), _median(samples[2 * third :])


def _median(samples: list[Sample]) -> Sample:
    return Sample(*(statistics.median(values) for values in zip(*samples, strict=True)))


def is_level(before: Sample, after: Sample) -> bool:
    """Whether a process holds no more than before, but for a few percent of memory."""
    return (
        after.megabytes <= 1.05 * before.megabytes + 20
        and after.threads <= before.threads + 2
        and after.files <= before.files + 2
    )
