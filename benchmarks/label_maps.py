"""SEAN's convolutions, of codes or of codes laid out: `python -m benchmarks.label_maps`.

Value and gradient of the codes' γ and β at one size of a CelebA model, both ways in turn; medians.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import inputs, timing
from scam_jax.models.layers.label_maps import CodeConv, laid_out, neighbours_of
from scam_jax.models.layers.primitives import Conv

_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed.")

LABELS, CODE = 19, 512
# Height and width of a map of the generator, and its channels.
MAPS = ((32, 1024), (64, 1024), (128, 512))
TOY_MAPS = ((8, 16),)


def ours(params, one_hot, codes):
    return CodeConv(params["bias"].shape[0]).apply(
        {"params": params}, neighbours_of(one_hot), codes
    )


def on_the_map(params, one_hot, codes):
    conv = Conv(params["bias"].shape[0])
    return conv.apply({"params": params}, laid_out(one_hot, codes))


def gradient(way):
    """Of parameters and codes."""

    def loss(params, codes, one_hot):
        return jnp.square(way(params, one_hot, codes)).mean()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


def main(argv: list[str]) -> None:
    print(timing.heading("python -m benchmarks.label_maps"))
    print("| map | ours, s | laid out, s | ratio |\n|---|---|---|---|")
    random = np.random.default_rng(0)
    for size, channels in TOY_MAPS if inputs.TOY.value else MAPS:
        label_map = inputs.label_map(256)[:: 256 // size, :: 256 // size]
        one_hot = jax.nn.one_hot(label_map, LABELS)[None]
        codes = jnp.asarray(random.standard_normal((1, LABELS, CODE), np.float32))
        kernel = random.standard_normal((3, 3, CODE, channels), np.float32)
        params = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(channels)}

        runs = {
            way.__name__: functools.partial(gradient(way), params, codes, one_hot)
            for way in (ours, on_the_map)
        }
        seconds = timing.in_turn(runs, _ROUNDS.value)
        ratio = seconds["on_the_map"] / seconds["ours"]
        row = f"{seconds['ours']:.3f} | {seconds['on_the_map']:.3f} | {ratio:.1f}"
        print(f"| {size}×{size}×{channels} | {row} |", flush=True)


if __name__ == "__main__":
    app.run(main)
