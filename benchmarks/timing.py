"""What all benchmarks share: alternatives timed in turn, and the machine they ran on."""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import flax
import jax
import jaxlib
import numpy as np

from scam_jax import chips


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each run: all are warmed up, then timed one after the other, in rounds."""
    for run in runs.values():
        jax.block_until_ready(run())
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def heading(command: str) -> str:
    """Date, machine, versions and command, as the first lines of a table."""
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (jax, jaxlib, flax, np))
    python = platform.python_version()
    return f"{datetime.date.today()}, {machine()}, Python {python}, {versions}:\n\n    {command}\n"


def machine() -> str:
    """The devices that JAX uses."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        chip = chips.of_device(devices[0])
        peak = f" ({chip.flops_per_second / 1e12:.0f} TFLOP/s)" if chip else ""
        return f"{len(devices)} × {devices[0].device_kind}{peak}"
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {names[0] if names else platform.machine()}"
