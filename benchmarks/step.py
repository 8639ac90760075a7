"""The whole training step at CelebA's size: `python -m benchmarks.step`.

The step of `configs/celeba.py`, VGG19 (random weights) included, as it is and with parts of it
computed otherwise, in turn; the median counts. On accelerators:

  python -m benchmarks.step --batch=64 --dtype=bfloat16 --trace=profile
"""

import functools
from typing import Any

import jax
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks import alternatives, inputs, timing
from scam_jax import models
from scam_jax.cost import chips, flops
from scam_jax.devices import sharding
from scam_jax.training import state
from scam_jax.training.step import make_train_step

_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute type.")
_BATCH = flags.DEFINE_integer("batch", 1, "Images a step, over all devices.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed.")
_TRACE = flags.DEFINE_string(
    "trace", None, "A folder for a profile of the first; its top ten kernels."
)

WAYS = {
    "ours": (alternatives.ours, {}),
    "rematerialized": (alternatives.ours, {"train.rematerialize": True}),
    "dense attention": (alternatives.dense_regions, {}),
    "tiled attention": (alternatives.tiled_regions, {}),
    "plain attention": (alternatives.plain_attention, {}),
    "XLA's convolution gradients": (alternatives.xla_convolution, {}),
}
_WAYS = flags.DEFINE_list("ways", list(WAYS), "Which to compare; the first is compared with.")


class Run:
    """A compiled step and its state, which goes on from call to call."""

    def __init__(self, config: ConfigDict, mesh: jax.sharding.Mesh, vgg, context):
        networks = models.build(config, batch_axis=sharding.DATA)
        place = functools.partial(jax.device_put, device=sharding.replicated(mesh))
        self.state = place(state.create(config, networks))
        self.rest = sharding.to_global(inputs.random_batch(config), mesh), place(vgg)
        with context():
            lowered = make_train_step(config, networks, mesh).lower(self.state, *self.rest)
            self.compiled = lowered.compile()

    def __call__(self):
        self.state, metrics = self.compiled(self.state, *self.rest)
        return metrics


def config_of(changes: dict) -> ConfigDict:
    config = inputs.config()
    options = {"train.batch_size": _BATCH.value, "model.dtype": _DTYPE.value}
    config.update_from_flattened_dict({**options, **changes})
    return config


def row(name: str, run: Run, seconds: float, first: float) -> str:
    memory: Any = run.compiled.memory_analysis()
    cost: Any = run.compiled.cost_analysis()
    size = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    cells = [
        name,
        f"{seconds:.3f}",
        f"{_BATCH.value / seconds:.2f}",
        f"{seconds / first:.2f}",
        f"{cost['flops'] * jax.device_count() / _BATCH.value / 1e9:.0f}",
        f"{size / 1e9:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def utilization(seconds: float) -> str:
    """Model FLOPs utilization of our step, where the chip's peak is known."""
    device = jax.devices()[0]
    chip = chips.of_device(device)
    if chip is None:
        return ""
    platform = "cuda" if device.platform == "gpu" else device.platform
    config = config_of({})
    count = flops.model_flops(config, platform)
    if count is None:
        return ""
    peak = chip.flops_per_second * jax.device_count()
    share = count(config.train.num_steps) / (seconds * peak)
    return f"\nModel FLOPs utilization: {share:.1%}"


def print_kernels(kernels: list[timing.Kernel], program: str) -> None:
    """Prints a table of kernels, and the shapes of each one's slowest instruction."""
    lines = {line.split(" = ")[0].strip(" %"): line for line in program.splitlines()}
    print("\n| kernel | ms | share | calls | slowest instruction |\n|---|---|---|---|---|")
    for name, milliseconds, share, calls, instruction in kernels:
        print(f"| {name} | {milliseconds:.2f} | {share:.1%} | {calls} | {instruction} |")
    print()
    for kernel in kernels[:5]:
        print(lines.get(kernel.instruction, kernel.instruction).strip())


def main(argv: list[str]) -> None:
    options = f"--batch={_BATCH.value} --dtype={_DTYPE.value} --rounds={_ROUNDS.value}"
    options += f" --ways='{','.join(_WAYS.value)}'"
    print(timing.heading(f"python -m benchmarks.step {options}"))
    mesh, vgg = sharding.make_mesh(), inputs.random_vgg()
    if unknown := {*_WAYS.value} - WAYS.keys():
        raise app.UsageError(f"--ways has {', '.join(unknown)}: use some of {', '.join(WAYS)}")
    runs = {}
    for name in _WAYS.value:
        context, changes = WAYS[name]
        runs[name] = Run(config_of(changes), mesh, vgg, context)
    seconds = timing.in_turn(runs, _ROUNDS.value)
    first = _WAYS.value[0]
    print(f"| step | s | images/s | of {first} | GFLOP per image | arguments + temporaries, GB |")
    print("|---|---|---|---|---|---|")
    for name, run in runs.items():
        print(row(name, run, seconds[name], seconds[first]))
    if "ours" in seconds:
        print(utilization(seconds["ours"]))
    for device in jax.local_devices():
        if device.memory_stats():
            print(
                f"{device}: {device.memory_stats()['peak_bytes_in_use'] / 1e9:.2f} GB at the peak"
            )
    if _TRACE.value:
        with jax.profiler.trace(_TRACE.value):
            jax.block_until_ready(runs[first]())
        print_kernels(timing.top_kernels(_TRACE.value), runs[first].compiled.as_text() or "")


if __name__ == "__main__":
    app.run(main)
