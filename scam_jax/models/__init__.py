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


def build(config: ConfigDict, batch_axis: str | None = None) -> Networks:
    """The networks that `config` describes.

    Args:
      config: the whole config, validated.
      batch_axis: mesh axis over which batch statistics are shared.
    """
    model = config.model
    layer = LayerSpec(jnp.dtype(model.dtype), model.equalized)
    shared = dict(
        num_labels=config.data.num_labels,
        latents_per_label=model.latents_per_label,
        background_latents=model.background_latents,
        attention_dim=model.attention_dim,
        layer=layer,
    )
    return Networks(
        encoder=SATEncoder(latent_dim=model.latent_dim, **shared, **model.encoder),
        generator=SCAMGenerator(batch_axis=batch_axis, **shared, **model.generator),
        discriminator=MultiScaleDiscriminator(**model.discriminator, layer=layer),
    )
