"""The demo's training step on CPUs, as its process is set up: `python -m benchmarks.host`.

Each way is a process of its own: with freed memory kept (`scam_jax/host_memory.py`) or given back
to the system, and with each step awaited or two dispatched ahead. All run in turn; the median of
the processes counts.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import jax
from absl import app, flags

from benchmarks import inputs, timing
from configs import synthetic
from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.training import state
from scam_jax.training.step import make_train_step

_ROUNDS = flags.DEFINE_integer("rounds", 3, "How many processes for each way.")
_STEPS = flags.DEFINE_integer("steps", 60, "Steps in a process.")
_CACHE = flags.DEFINE_string("cache", None, "Folder of compiled programs.")
_AHEAD = flags.DEFINE_integer("ahead", None, "Times the step in this process, so many ahead.")


class Way(NamedTuple):
    """How a process is set up: its Python's arguments, and the steps dispatched ahead."""

    python: tuple[str, ...]
    ahead: int


_GIVEN_BACK = ("-m", "benchmarks.host")
# As main.py does, before JAX is imported.
_KEPT = (
    "-c",
    "from scam_jax import host_memory; host_memory.keep_freed()\n"
    "host_memory.compute_on_calling_thread()\n"
    "import runpy; runpy.run_module('benchmarks.host', run_name='__main__', alter_sys=True)",
)
WAYS = {
    "kept, awaited": Way(_KEPT, 0),
    "kept, two ahead": Way(_KEPT, 2),
    "given back, awaited": Way(_GIVEN_BACK, 0),
    "given back, two ahead": Way(_GIVEN_BACK, 2),
}


def milliseconds_a_step(ahead: int) -> float:
    """Returns the milliseconds of a step, with some steps dispatched ahead."""
    config = synthetic.get_config()
    if inputs.TOY.value:
        config.model.encoder.num_blocks, config.model.latent_dim = 1, 16
    batch = inputs.random_batch(config)
    batch["label"] = batch["label"] % config.data.num_labels
    mesh = sharding.make_mesh()
    networks = models.build(config, batch_axis=sharding.DATA)
    train_state = jax.device_put(state.create(config, networks), sharding.replicated(mesh))
    given = sharding.to_global(batch, mesh), None
    step = make_train_step(config, networks, mesh).lower(train_state, *given).compile()
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
    command = [sys.executable, *way.python, *options, f"--ahead={way.ahead}"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout)


def main(argv: list[str]) -> None:
    if _AHEAD.value is not None:
        jax.config.update("jax_compilation_cache_dir", _CACHE.value)
        print(json.dumps(milliseconds_a_step(_AHEAD.value)))
        return
    print(timing.heading("python -m benchmarks.host"))
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
