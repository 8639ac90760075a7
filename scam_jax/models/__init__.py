"""The networks that a config describes: encoder, generator and discriminator."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.models.baselines import clade, groupdnet, inade, sean, sean_clade, spade
from scam_jax.models.discriminators import oasis, patchgan, stylegan2
from scam_jax.models.family import Family, config_keys
from scam_jax.models.layers.primitives import Array, LayerSpec
from scam_jax.models.scam import scam

# Choices of `config.model.family`.
FAMILIES: dict[str, Family] = {
    "scam": scam.FAMILY,
    "spade": spade.FAMILY,
    "clade": clade.FAMILY,
    "sean": sean.FAMILY,
    "sean_clade": sean_clade.FAMILY,
    "inade": inade.FAMILY,
    "groupdnet": groupdnet.FAMILY,
}
# Choices of `config.model.discriminator.kind`.
DISCRIMINATORS: dict[str, type[nn.Module]] = {
    "patchgan": patchgan.MultiScaleDiscriminator,
    "stylegan2": stylegan2.MultiScaleStyleGAN2Discriminator,
    "oasis": oasis.OASISDiscriminator,
}


class Networks(NamedTuple):
    """The modules of a config, without parameters.

    Shapes: an image is `[B, H, W, 3]`, its labels are `[B, H, W]` integers below L, and `keys`
    holds one PRNG key per example, `[B]`. Latents are a pytree, different for each family. If the
    config leaves pixels out, these have the label L and belong to no region.

    Attributes:
      encoder: maps (image, labels, keys) to latents. Its method `mix(sources, subject, target)`
        gives every label the latents of a label of `subject`, or its own of `target`. `sources`,
        integers `[B, L]` or `[1, L]`, has the label of the subject, or -1 for the target's.
      generator: maps (labels, latents, keys, train) to an image.
      discriminator: maps (image, one-hot labels `[B, H, W, L]`) to feature maps, indexed
        `[scale][layer]`; the last layer holds the logits.
      ignored: L if the config leaves pixels out, None otherwise.
      means_in_use: see `Family`.
    """

    encoder: nn.Module
    generator: nn.Module
    discriminator: nn.Module
    ignored: int | None = None
    means_in_use: bool = False

    def seen(self, labels: Array) -> Array | None:
        """Returns where pixels count, bool `[B, H, W]`; None if all pixels of all images do."""
        return None if self.ignored is None else labels != self.ignored

    def only_seen(self, image: Array, labels: Array, elsewhere: Array | float = 0.0) -> Array:
        """Replaces the pixels of images that do not count.

        Args:
          image: images `[B, H, W, 3]`.
          labels: labels `[B, H, W]`.
          elsewhere: what takes the place of such pixels, a number or images.
        """
        seen = self.seen(labels)
        return image if seen is None else jnp.where(seen[..., None], image, elsewhere)


def discriminator_options(kind: str) -> dict[str, Any]:
    """Returns the keys of `config.model.discriminator` for a kind, with their default values.

    Args:
      kind: a key of `DISCRIMINATORS`.

    Returns:
      Default values by key, without `kind` and `dtype`, which every discriminator has.
    """
    return config_keys(DISCRIMINATORS[kind])


def dtype_of(config: ConfigDict, own: str) -> jnp.dtype:
    """Returns the compute type of a network.

    Args:
      config: the whole config.
      own: name of the network's own type, or "" to use the common type, `config.model.dtype`.
    """
    return jnp.dtype(own or config.model.dtype)


def family_of(config: ConfigDict) -> Family:
    """Returns the family that `config.model.family` names."""
    return FAMILIES[config.model.family]


def build(config: ConfigDict, batch_axis: str | None = None) -> Networks:
    """Builds the networks that a config describes.

    Args:
      config: the whole config, validated.
      batch_axis: mesh axis over which batch statistics are shared, or None for a single device.

    Returns:
      The modules, without parameters.
    """
    family = family_of(config)
    # Runs of older versions lack the key.
    ignores = config.data.get("ignore_label", -1) >= 0
    common = {
        "num_labels": config.data.num_labels,
        "ignores": ignores,
        "batch_axis": batch_axis,
        "rematerialize": config.train.rematerialize,
        **{key: config.model[key] for key in family.shared_keys},
    }
    return Networks(
        encoder=_network(family.encoder_class, config, "encoder", common),
        generator=_network(family.generator_class, config, "generator", common),
        discriminator=_network(
            DISCRIMINATORS[config.model.discriminator.kind], config, "discriminator", common
        ),
        ignored=config.data.num_labels if ignores else None,
        means_in_use=family.means_in_use,
    )


def _network(
    module_class: type[nn.Module], config: ConfigDict, name: str, common: Mapping[str, Any]
) -> nn.Module:
    """Builds a network from its section of the config and the common values that it uses."""
    section = config.model[name]
    own = {key: value for key, value in section.items() if key not in ("dtype", "kind")}
    fields = {field.name for field in dataclasses.fields(module_class)}
    taken = {key: value for key, value in common.items() if key in fields}
    layer = LayerSpec(dtype_of(config, section.dtype), config.model.equalized)
    return module_class(layer=layer, **own, **taken)
