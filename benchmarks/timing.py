"""What all benchmarks share: alternatives timed in turn, and the machine they ran on."""

import collections
import datetime
import os
import pathlib
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax
import jax
import jaxlib
import numpy as np

from scam_jax.cost import chips


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each run: all are warmed up, then timed one after the other, in rounds."""
    for run in runs.values():
        jax.block_until_ready(run())
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


class Kernel(NamedTuple):
    """A kernel in a trace.

    Attributes:
      name: its name.
      milliseconds: of all its calls.
      share: of the milliseconds of all kernels.
      calls: number of calls.
      instruction: the HLO instruction that takes longest in it, empty if unknown.
    """

    name: str
    milliseconds: float
    share: float
    calls: int
    instruction: str


def top_kernels(trace: str, count: int = 10) -> list[Kernel]:
    """The kernels that took longest, in the newest trace of a folder."""
    file = max(pathlib.Path(trace).rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    on_devices = [plane for plane in planes if plane.name.startswith("/device:")]
    calls: collections.Counter[str] = collections.Counter()
    milliseconds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for plane in on_devices or planes:
        for line in plane.lines:
            if line.name in ("Steps", "XLA Modules", "Framework Ops"):
                continue  # whole steps, of which the kernels are the parts
            for event in line.events:
                # a CPU's kernels are among other events, whose names are not XLA's
                if plane in on_devices or re.fullmatch(r"[a-z_]+[a-z_.\d-]*", event.name):
                    instruction = str(dict(event.stats).get("hlo_op", ""))
                    milliseconds[event.name][instruction] += event.duration_ns / 1e6
                    calls[event.name] += 1
    totals = collections.Counter(
        {name: sum(parts.values()) for name, parts in milliseconds.items()}
    )
    return [
        Kernel(
            name,
            ms,
            ms / sum(totals.values()),
            calls[name],
            milliseconds[name].most_common(1)[0][0],
        )
        for name, ms in totals.most_common(count)
    ]


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
