"""A training step on CPUs, as its process is set up: `python -m benchmarks.host`.

Each way is a process of its own: with freed memory kept or given back to the system, with the step
on the calling thread or on one of JAX's (`scam_jax/host_memory.py`), and with each step awaited or
two dispatched ahead. All run in turn; the median of the processes counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
from absl import app, flags

from benchmarks import inputs, timing
from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.training import state
from scam_jax.training.step import make_train_step

_CONFIG = flags.DEFINE_string("config", "synthetic", "NAME[:CHOICES] of configs/NAME.py.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How many processes for each way.")
_STEPS = flags.DEFINE_integer("steps", 60, "Steps in a process.")
_CACHE = flags.DEFINE_string("cache", None, "Folder of compiled programs.")
_AHEAD = flags.DEFINE_integer("ahead", None, "Times the step in this process, so many ahead.")
_OWN_THREAD = flags.DEFINE_bool("own_thread", False, "JAX runs the step on a thread of its own.")


class Way(NamedTuple):
    """How a process is set up: see the flags, and `host_memory.keep_freed` for `environment`."""

    own_thread: bool
    ahead: int
    environment: Mapping[str, str]


_KEPT: dict[str, str] = {}
# glibc's own threshold. That it is named turns `keep_freed` off.
_GIVEN_BACK = {"MALLOC_TRIM_THRESHOLD_": str(128 * 1024)}
WAYS = {
    "kept, on the calling thread": Way(False, 0, _KEPT),
    "kept, on JAX's thread": Way(True, 0, _KEPT),
    "kept, on JAX's thread, two ahead": Way(True, 2, _KEPT),
    "given back, on JAX's thread": Way(True, 0, _GIVEN_BACK),
    "given back, on JAX's thread, two ahead": Way(True, 2, _GIVEN_BACK),
}


def milliseconds_a_step(ahead: int) -> float:
    """Returns the milliseconds of a step, with some steps dispatched ahead."""
    config = inputs.named_config(_CONFIG.value)
    mesh = sharding.make_mesh()
    vgg = inputs.random_vgg() if config.losses.perceptual else None
    networks = models.build(config, batch_axis=sharding.DATA)
    train_state = jax.device_put(state.create(config, networks), sharding.replicated(mesh))
    given = sharding.to_global(inputs.random_batch(config), mesh), vgg
    step = make_train_step(config, networks, mesh).lower(train_state, *given).compile()
    jax.block_until_ready((train_state, given))
    pending: list[object] = []
    for number in range(-5, _STEPS.value):
        if number == 0:  # the first ones are not typical
            jax.block_until_ready(pending)
            start = time.perf_counter()
        train_state, metrics = step(train_state, *given)
        pending.append(metrics)
        if len(pending) > ahead:
            jax.block_until_ready(pending[-1 - ahead])
    jax.block_until_ready(pending)
    return 1e3 * (time.perf_counter() - start) / _STEPS.value


def time_apart(way: Way, folder: str) -> float:
    """Times a way in a process of its own."""
    options = [f"--cache={folder}", f"--steps={_STEPS.value}", f"--toy={inputs.TOY.value}"]
    options += [f"--config={_CONFIG.value}", f"--own_thread={way.own_thread}"]
    command = [sys.executable, "-m", "benchmarks.host", *options, f"--ahead={way.ahead}"]
    # The user's own settings of the allocator would hold in every way, and other devices as well.
    own = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment = {**own, "JAX_PLATFORMS": "cpu", **way.environment}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(result.stdout)


def main(argv: list[str]) -> None:
    if _AHEAD.value is not None:
        jax.config.update("jax_compilation_cache_dir", _CACHE.value)
        if _OWN_THREAD.value:
            jax.config.update("jax_cpu_enable_async_dispatch", True)
        print(json.dumps(milliseconds_a_step(_AHEAD.value)))
        return
    print(timing.heading(f"python -m benchmarks.host --config={_CONFIG.value}"))
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(_ROUNDS.value):
            for name, way in WAYS.items():
                found[name].append(time_apart(way, folder))
    first = statistics.median(next(iter(found.values())))
    print("| freed memory, steps | ms | time / first |\n|---|---|---|")
    for name, milliseconds in found.items():
        median = statistics.median(milliseconds)
        print(f"| {name} | {median:.0f} | {median / first:.2f} |")


if __name__ == "__main__":
    app.run(main)
