"""Programs of a trained model that run without this package, by `jax.export`.

A program is StableHLO for several kinds of device, for batches of any size. Its weights are an
argument: they lie in a file beside it. JAX runs a program for six months after the version that
wrote it, see docs/export.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jax import export

from scam_jax.inference import generation
from scam_jax.models import Networks

Array = jax.Array
# Arrays or their shapes by dotted name, such as 'encoder.params.conv_1.kernel'.
Weights = Mapping[str, Any]
PLATFORMS = ("cpu", "cuda", "tpu")


def export_programs(
    networks: Networks, weights: Weights, size: tuple[int, int], num_labels: int
) -> dict[str, bytes]:
    """Exports a model's programs, each in the format that `jax.export.deserialize` reads.

    All programs take `weights` first, as a dict. Images are `uint8 [B, H, W, 3]`, label maps are
    `uint8 [B, H, W]`. `seeds`, `int32 [B]`, chooses the noise of each image; `TrainedModel` uses 0.

      encode(weights, image, labels, seeds) -> latents, a list of arrays
      generate(weights, labels, latents, seeds) -> image
      transfer(weights, subject_image, subject_labels, target_image, target_labels, sources, seeds)
          -> image

    `sources`, `int32 [B, L]`, says whose latents each label takes: those of a label of the subject,
    or, if it is -1, its own of the target.

    Args:
      networks: the model's networks.
      weights: shapes and types of its weights.
      size: H and W.
      num_labels: L.

    Returns:
      The programs by name.
    """
    functions = _Functions(networks)
    (batch,) = export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct
    image, labels = shape((batch, *size, 3), jnp.uint8), shape((batch, *size), jnp.uint8)
    sources, seeds = shape((batch, num_labels), jnp.int32), shape((batch,), jnp.int32)
    weights = {name: shape(leaf.shape, leaf.dtype) for name, leaf in weights.items()}
    latents = jax.eval_shape(functions.encode, weights, image, labels, seeds)
    arguments: dict[str, tuple[Callable, Sequence[Any]]] = {
        "encode": (functions.encode, (image, labels, seeds)),
        "generate": (functions.generate, (labels, latents, seeds)),
        "transfer": (functions.transfer, (image, labels, image, labels, sources, seeds)),
    }
    return {
        name: bytes(
            export.export(jax.jit(function), platforms=PLATFORMS)(weights, *shapes).serialize()
        )
        for name, (function, shapes) in arguments.items()
    }


class _Functions:
    """The functions of a model that are exported. Arguments are those of `export_programs`."""

    def __init__(self, networks: Networks):
        self.networks = networks
        self._structure: Any = None

    def encode(self, weights, image, labels, seeds):
        latents = generation.encode(
            self.networks, variables_of(weights), image, labels, generation.image_keys(0, seeds)
        )
        leaves, self._structure = jax.tree.flatten(latents)
        return leaves

    def generate(self, weights, labels, latents, seeds):
        latents = jax.tree.unflatten(self._structure, latents)
        keys = generation.image_keys(0, seeds)
        return _to_uint8(
            generation.generate(self.networks, variables_of(weights), labels, latents, keys)
        )

    def transfer(
        self,
        weights,
        subject_image,
        subject_labels,
        target_image,
        target_labels,
        sources,
        seeds,
    ):
        image = generation.transfer(
            self.networks,
            variables_of(weights),
            subject_image,
            subject_labels,
            target_image,
            target_labels,
            sources,
            generation.image_keys(0, seeds),
        )
        return _to_uint8(image)


def variables_of(weights: Weights) -> generation.Variables:
    """Returns the variables of encoder and generator, whose numbers become float32."""
    return unflatten_dict(
        {
            name: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x
            for name, x in weights.items()
        },
        sep=".",
    )


def _to_uint8(image: Array) -> Array:
    return jnp.clip(jnp.round((image + 1) * 127.5), 0, 255).astype(jnp.uint8)
