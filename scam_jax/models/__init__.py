"""The networks of a config: one of several families of encoder and generator, a discriminator."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.models.baselines import clade, groupdnet, inade, sean, sean_clade, spade
from scam_jax.models.discriminators import oasis, patchgan, stylegan2
from scam_jax.models.family import Common, Family
from scam_jax.models.layers.primitives import LayerSpec
from scam_jax.models.scam import scam

# What a config's `model.family` may be.
FAMILIES: dict[str, Family] = {
    "scam": scam.FAMILY,
    "spade": spade.FAMILY,
    "clade": clade.FAMILY,
    "sean": sean.FAMILY,
    "sean_clade": sean_clade.FAMILY,
    "inade": inade.FAMILY,
    "groupdnet": groupdnet.FAMILY,
}
# What its `model.discriminator.kind` may be.
DISCRIMINATORS: dict[str, type[nn.Module]] = {
    "patchgan": patchgan.MultiScaleDiscriminator,
    "stylegan2": stylegan2.MultiScaleStyleGAN2Discriminator,
    "oasis": oasis.OASISDiscriminator,
}


class Networks(NamedTuple):
    """Modules, without parameters.

    encoder: image `[B, H, W, 3]`, labels `[B, H, W]`, keys `[B]` -> latents, a pytree; and `mix`,
      of labels that are taken and two images' latents.
    generator: labels, latents, keys, train -> image `[B, H, W, 3]`.
    discriminator: image, one-hot labels `[B, H, W, L]` -> feature maps, `[scale][layer]`.
    """

    encoder: nn.Module
    generator: nn.Module
    discriminator: nn.Module


def discriminator_options(kind: str) -> dict[str, Any]:
    """The keys that `model.discriminator` has besides `kind` and `dtype`, with their defaults."""
    own = {"layer", "parent", "name"}
    fields = [f for f in dataclasses.fields(DISCRIMINATORS[kind]) if f.name not in own]
    return {field.name: field.default for field in fields}


def dtype_of(config: ConfigDict, own: str) -> jnp.dtype:
    """A network's compute type: its own, or the config's for all networks where that is empty."""
    return jnp.dtype(own or config.model.dtype)


def family_of(config: ConfigDict) -> Family:
    return FAMILIES[config.model.family]


def build(config: ConfigDict, batch_axis: str | None = None) -> Networks:
    """The networks that `config` describes.

    Args:
      config: the whole config, validated.
      batch_axis: mesh axis over which batch statistics are shared.
    """
    model = config.model.copy_and_resolve_references().unlock()
    layers = {}
    for network in ("encoder", "generator", "discriminator"):
        dtype = dtype_of(config, model[network].dtype)
        layers[network] = LayerSpec(dtype, model.equalized)
        del model[network]["dtype"]
    common = Common(
        num_labels=config.data.num_labels,
        encoder_layer=layers["encoder"],
        generator_layer=layers["generator"],
        batch_axis=batch_axis,
        rematerialize=config.train.rematerialize,
    )
    encoder, generator = family_of(config).build(model, common)
    discriminator_class = DISCRIMINATORS[model.discriminator.kind]
    del model.discriminator["kind"]
    discriminator = discriminator_class(layer=layers["discriminator"], **model.discriminator)
    return Networks(encoder, generator, discriminator)
