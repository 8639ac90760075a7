"""The networks of a config. A baseline is another encoder and generator of the same signatures."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.models.patchgan import MultiScaleDiscriminator
from scam_jax.models.primitives import LayerSpec
from scam_jax.models.sat_encoder import SATEncoder
from scam_jax.models.scam_generator import SCAMGenerator


class Networks(NamedTuple):
    """Modules, without parameters.

    encoder: image `[B, H, W, 3]`, labels `[B, H, W]`, keys `[B]` -> latents, a pytree.
    generator: labels, latents, keys, train -> image `[B, H, W, 3]`.
    discriminator: image, one-hot labels `[B, H, W, L]` -> feature maps, `[scale][layer]`.
    """

    encoder: nn.Module
    generator: nn.Module
    discriminator: nn.Module


def dtype_of(config: ConfigDict, own: str) -> jnp.dtype:
    """A network's compute type: its own, or the config's for all networks where that is empty."""
    return jnp.dtype(own or config.model.dtype)


def build(config: ConfigDict, batch_axis: str | None = None) -> Networks:
    """The networks that `config` describes.

    Args:
      config: the whole config, validated.
      batch_axis: mesh axis over which batch statistics are shared.
    """
    model = config.model
    shared = dict(
        num_labels=config.data.num_labels,
        latents_per_label=model.latents_per_label,
        background_latents=model.background_latents,
        attention_dim=model.attention_dim,
    )

    def options(network):
        """The network's own keys, its `dtype` as the spec of its layers."""
        own = dict(model[network])
        own["layer"] = LayerSpec(dtype_of(config, own.pop("dtype")), model.equalized)
        return own

    return Networks(
        encoder=SATEncoder(latent_dim=model.latent_dim, **shared, **options("encoder")),
        generator=SCAMGenerator(
            batch_axis=batch_axis,
            rematerialize=config.train.rematerialize,
            **shared,
            **options("generator"),
        ),
        discriminator=MultiScaleDiscriminator(**options("discriminator")),
    )
