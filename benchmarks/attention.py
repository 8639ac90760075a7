"""Attention of a modulation, plain against absorbed: `python -m benchmarks.attention`.

Both of a modulation's attentions, latents to pixels and pixels to latents, at the map sizes of the
CelebA generator (152 latents of 19 labels). *Plain* projects the pixels and lets every pixel meet
every latent. *Dense* folds all projections into the latents, *tiles* also sorts the pixels by label
and multiplies only a label's pixels with its latents. All run in turn; the median counts.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import alternatives, inputs, timing
from scam_jax.models.layers.primitives import AffineParams, LayerSpec
from scam_jax.models.scam.attention import MaskedAttention
from scam_jax.models.scam.latent_layout import LatentLayout
from scam_jax.models.scam.regions import find_regions

_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute type.")
_BATCH = flags.DEFINE_integer("batch", 1, "Images.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "How often each is timed.")

PER_LABEL, WIDTH = 8, 256
# Side of the map, channels.
MAPS = [(256, 64), (128, 128), (64, 256), (32, 512)]
TOY_MAPS = [(32, 8)]
WAYS = {
    "plain": alternatives.plain_attention,
    "dense": alternatives.dense_regions,
    "tiles": alternatives.tiled_regions,
}


class Pair(nn.Module):
    """A modulation's attentions: updated latents, and γ and β."""

    layout: LatentLayout
    layer: LayerSpec

    @nn.compact
    def __call__(self, pixels, latents, labels):
        regions = find_regions(labels, inputs.NUM_LABELS)
        gather = MaskedAttention(WIDTH, layer=self.layer, name="image_to_latent")
        latents = latents + gather.gather(latents, pixels, regions, self.layout)
        look_up = MaskedAttention(WIDTH, layer=self.layer, name="latent_to_image")
        channels = pixels.shape[-1]
        then = [AffineParams(self.layer, name=n)(channels, channels) for n in ("gamma", "beta")]
        return latents, look_up.look_up(pixels, latents, regions, self.layout, then)


def seconds(side: int, channels: int, *, gradient: bool) -> dict[str, float]:
    random = np.random.default_rng(0)
    dtype = jnp.dtype(_DTYPE.value)
    layout = LatentLayout(inputs.NUM_LABELS, PER_LABEL, PER_LABEL)
    module = Pair(layout, LayerSpec(dtype))
    labels = jnp.asarray(np.repeat(inputs.label_map(side)[None], _BATCH.value, 0))
    pixels = jnp.asarray(random.normal(size=(_BATCH.value, side * side, channels)), dtype)
    latents = jnp.asarray(random.normal(size=(_BATCH.value, len(layout.owners), WIDTH)), dtype)
    shapes = jax.eval_shape(module.init, jax.random.key(0), pixels, latents, labels)
    variables = jax.tree.map(
        lambda s: jnp.asarray(0.05 * random.normal(size=s.shape), jnp.float32), shapes
    )

    def value(variables, pixels, latents, labels):
        return module.apply(variables, pixels, latents, labels)

    def loss(*args):
        return sum(jnp.square(x.astype(jnp.float32)).sum() for x in jax.tree.leaves(value(*args)))

    computed = jax.grad(loss, argnums=(0, 1, 2)) if gradient else value
    runs = {}
    for name, way in WAYS.items():
        with way():
            # a function of its own, or JAX would take the first way's program again
            program = jax.jit(lambda *args: computed(*args))
            compiled = program.lower(variables, pixels, latents, labels).compile()
        runs[name] = functools.partial(compiled, variables, pixels, latents, labels)
    return timing.in_turn(runs, _ROUNDS.value)


def main(argv: list[str]) -> None:
    options = f"--batch={_BATCH.value} --dtype={_DTYPE.value}"
    print(timing.heading(f"python -m benchmarks.attention {options}"))
    print("| map | | plain, ms | dense, ms | tiles, ms | plain / dense | plain / tiles |")
    print("|---|---|---|---|---|---|---|")
    for side, channels in TOY_MAPS if inputs.TOY.value else MAPS:
        for gradient in (False, True):
            times = seconds(side, channels, gradient=gradient)
            cells = [f"{1e3 * times[name]:.1f}" for name in WAYS]
            cells += [f"{times['plain'] / times[name]:.1f}" for name in ("dense", "tiles")]
            what = "gradient" if gradient else "value"
            print(f"| {side}×{side}×{channels} | {what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
