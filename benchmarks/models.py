"""All models' parameters and operations at CelebA's size: `python -m benchmarks.models`.

Nothing is run: operations are counted of the programs for a TPU, of one image encoded and
generated, with the models' published sizes. Prints a table for models.md and docs/baselines.md.
"""

import jax
import numpy as np
from absl import app
from ml_collections import ConfigDict

from benchmarks import inputs, timing
from scam_jax import models
from scam_jax.models.layers import latents
from scam_jax.training import state


def parameters(variables) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables.get("params", {})))


def flops(config: ConfigDict, variables) -> float:
    """Of encoder and generator, of one image."""
    networks = models.build(config)
    size = (1, config.data.height, config.data.width)
    image = jax.ShapeDtypeStruct((*size, 3), np.float32)
    labels = jax.ShapeDtypeStruct(size, np.int32)

    def reconstruct(variables, image, labels, keys):
        encoded = networks.encoder.apply(variables["encoder"], image, labels, keys)
        codes = latents.sample(encoded, keys)
        return networks.generator.apply(variables["generator"], labels, codes, keys)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    traced = jax.jit(reconstruct).trace(variables, image, labels, keys)
    return traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]


def main(argv: list[str]) -> None:
    print(timing.heading("python -m benchmarks.models"))
    print("| model | encoder, M | generator, M | forward, GFLOP per image |\n|---|---|---|---|")
    for family in models.FAMILIES:
        config = inputs.config(f"model={family}")
        variables = state.variable_shapes(config, models.build(config))
        encoder, generator = (
            parameters(variables[network]) / 1e6 for network in ("encoder", "generator")
        )
        cost = flops(config, variables) / 1e9
        print(f"| {family} | {encoder:.1f} | {generator:.1f} | {cost:.0f} |", flush=True)


if __name__ == "__main__":
    app.run(main)
