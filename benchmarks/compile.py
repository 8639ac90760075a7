"""Compilation of the training step: `python -m benchmarks.compile`.

For each config: seconds to trace and to compile, the size of the program that the compiler gets,
and the instructions of the one that it makes. Nothing is loaded from a cache.
"""

import re
import time

import jax
from absl import app, flags

from benchmarks import inputs, timing
from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.models.frozen.vgg19 import VGG19
from scam_jax.training import state
from scam_jax.training.loss_weights import is_used
from scam_jax.training.step import make_train_step

_CONFIGS = flags.DEFINE_list(
    "configs", ["synthetic", "ccp:size=small", "celeba"], "NAME[:CHOICES] of configs/NAME.py."
)
_ROUNDS = flags.DEFINE_integer("rounds", 1, "How often each is compiled; the least seconds count.")
_INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?[\w.-]+ = ", re.MULTILINE)


def arguments(config, mesh):
    """Shapes of state, batch and VGG19's parameters, where the step has them."""
    networks = models.build(config)

    def placed(tree, place):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    everywhere = sharding.replicated(mesh)
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(sharding.DATA))
    size = (config.train.batch_size, config.data.height, config.data.width)
    batch = {
        "image": jax.ShapeDtypeStruct((*size, 3), "uint8"),
        "label": jax.ShapeDtypeStruct(size, "uint8"),
    }
    vgg = None
    if is_used(config, "perceptual"):
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
        vgg = jax.eval_shape(VGG19().init, jax.random.key(0), image)["params"]
    shapes = state.abstract(config, networks)
    return placed(shapes, everywhere), placed(batch, split), placed(vgg, everywhere)


def config_of(value: str):
    config = inputs.named_config(value)
    config.train.batch_size = min(config.train.batch_size, 8)
    return config


def measure(config) -> tuple[float, float, float, int]:
    """Seconds to trace, seconds to compile, megabytes of the program, instructions made of it."""
    mesh = sharding.make_mesh()
    step = make_train_step(config, models.build(config, batch_axis=sharding.DATA), mesh)
    shapes = arguments(config, mesh)
    jax.clear_caches()
    begun = time.perf_counter()
    lowered = step.lower(*shapes)
    traced = time.perf_counter() - begun
    compiled = lowered.compile()
    seconds = time.perf_counter() - begun - traced
    made = len(_INSTRUCTION.findall(compiled.as_text() or ""))
    return traced, seconds, len(lowered.as_text()) / 1e6, made


def main(argv: list[str]) -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    print(timing.heading(f"python -m benchmarks.compile --configs={','.join(_CONFIGS.value)}"))
    print("| config | trace, s | compile, s | program, MB | instructions |")
    print("|---|---|---|---|---|")
    for value in _CONFIGS.value:
        runs = [measure(config_of(value)) for _ in range(_ROUNDS.value)]
        traced, seconds = (min(run[i] for run in runs) for i in (0, 1))
        size, made = runs[0][2:]
        print(f"| {value} | {traced:.1f} | {seconds:.1f} | {size:.1f} | {made:,} |", flush=True)


if __name__ == "__main__":
    app.run(main)
