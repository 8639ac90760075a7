"""Transfer of one image at CelebA's size: `python -m benchmarks.transfer`.

Two encodings and a generation: by `TrainedModel.transfer`, as its users call it, and as one program
with the attention as it is and computed otherwise, in turn; the median counts.
"""

import functools

import jax
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks import alternatives, inputs, timing
from scam_jax import models
from scam_jax.inference.model import TrainedModel
from scam_jax.training import state
from scam_jax.training.objectives import to_float

_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute type.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "How often each is timed.")

WAYS = {
    "ours": alternatives.ours,
    "dense attention": alternatives.dense_regions,
    "tiled attention": alternatives.tiled_regions,
    "plain attention": alternatives.plain_attention,
}


def program(config: ConfigDict, variables: dict, context, *pair: np.ndarray):
    """The transfer of a pair, compiled within `context`."""
    networks = models.build(config)

    def transfer(variables, image, labels, other_image, other_labels):
        def encode(image, labels):
            return networks.encoder.apply(variables["encoder"], to_float(image), labels)

        subject, target = encode(image, labels), encode(other_image, other_labels)
        latents = subject.at[:, : config.model.background_latents].set(
            target[:, : config.model.background_latents]
        )
        keys = jax.random.split(jax.random.key(0), 1)
        return networks.generator.apply(variables["generator"], other_labels, latents, keys)

    with context():
        return jax.jit(transfer).lower(variables, *pair).compile()


def main(argv: list[str]) -> None:
    print(timing.heading(f"python -m benchmarks.transfer --dtype={_DTYPE.value}"))
    config = inputs.config()
    config.model.dtype = _DTYPE.value
    variables = state.create(config, models.build(config)).eval_variables()
    labels = inputs.label_map(config.data.height)
    image = np.random.default_rng(0).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    pair = image, labels, image[::-1], labels[:, ::-1]
    batch = [array[None] for array in pair]
    model = TrainedModel(config, variables)
    runs = {"TrainedModel.transfer": functools.partial(model.transfer, *pair)}
    for name, context in WAYS.items():
        compiled = program(config, variables, context, *batch)
        runs[name] = functools.partial(compiled, variables, *batch)
    seconds = timing.in_turn(runs, _ROUNDS.value)
    print("| transfer | s | of ours |\n|---|---|---|")
    for name, time in seconds.items():
        print(f"| {name} | {time:.3f} | {time / seconds['ours']:.2f} |")


if __name__ == "__main__":
    app.run(main)
