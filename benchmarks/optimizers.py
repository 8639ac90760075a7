"""Updates of the demo's parameters: `python -m benchmarks.optimizers`.

AdamW and Muon, with averaging and clipping; and Muon without stacking the kernels of a shape. For
each, seconds to compile the update alone, its instructions, and its milliseconds; all run in turn;
the median counts.
"""

import contextlib
import functools
import time
from unittest import mock

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import inputs, timing
from configs import synthetic
from scam_jax import models
from scam_jax.training import optimizers, state
from scam_jax.training.step import update_state

_ROUNDS = flags.DEFINE_integer("rounds", 30, "How often each is timed.")

# The kind, and a context to build the update in.
WAYS: dict[str, tuple[str, contextlib.AbstractContextManager]] = {
    "AdamW": ("adamw", contextlib.nullcontext()),
    "Muon": ("muon", contextlib.nullcontext()),
    "Muon, kernels one by one": ("muon", mock.patch.object(optimizers, "_SMALL", 0)),
}


class Update:
    """A compiled update and its state, which goes on from call to call."""

    def __init__(self, kind: str):
        config = synthetic.get_config()
        config.optimizer.kind = kind
        if inputs.TOY.value:
            config.model.encoder.num_blocks, config.model.latent_dim = 1, 16
        self.state = state.create(config, models.build(config))
        self.gradients = {
            side: jax.tree.map(jnp.ones_like, state.of_side(self.state.params, side))
            for side in state.SIDES
        }
        update = jax.jit(functools.partial(update_state, config), donate_argnums=0)
        start = time.perf_counter()
        self.compiled = update.lower(self.state, self.gradients).compile()
        self.seconds = time.perf_counter() - start

    def __call__(self):
        self.state = self.compiled(self.state, self.gradients)
        return self.state


def main(argv: list[str]) -> None:
    print(timing.heading("python -m benchmarks.optimizers"))
    runs = {}
    for name, (kind, context) in WAYS.items():
        with context:
            runs[name] = Update(kind)
    seconds = timing.in_turn(runs, _ROUNDS.value)
    print("| update of the demo | s to compile | instructions | ms |\n|---|---|---|---|")
    for name, run in runs.items():
        count = (run.compiled.as_text() or "").count(" = ")
        print(f"| {name} | {run.seconds:.1f} | {count} | {1e3 * seconds[name]:.1f} |")


if __name__ == "__main__":
    app.run(main)
