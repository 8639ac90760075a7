"""Encodes, generates, reconstructs and transfers batches, for evaluation and inference.

Encoding, mixing and generating are compiled once for all models with the same networks. Input
images are `uint8`, labels have any integer type. Noise is drawn from one key per image, so it
depends neither on the batch size nor on the number of devices.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from scam_jax.images import to_float
from scam_jax.models import Networks
from scam_jax.models.layers import latents as latent_codes
from scam_jax.models.layers.latents import Latents

Array = jax.Array
# `{'encoder': ..., 'generator': ...}`, each with all collections.
Variables = Mapping[str, Any]


def image_keys(seed: int | Array, places: ArrayLike) -> Array:
    """Returns one key per image, `[B]`.

    Args:
      seed: the seed.
      places: indices of the images in their data set, `[B]`.
    """
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(places)


@functools.partial(jax.jit, static_argnums=0)
def encode(
    networks: Networks, variables: Variables, image: Array, labels: Array, keys: Array
) -> Latents:
    """Encodes images.

    Of a variational encoder, SCAM and SEAN take the means of the latents and others sample them, as
    in the published results.

    Args:
      networks: the model's networks.
      variables: the model's variables.
      image: images `uint8 [B, H, W, 3]`.
      labels: labels `[B, H, W]`.
      keys: one key per image, `[B]`.

    Returns:
      The latents.
    """
    keys = jax.vmap(jax.random.split)(jax.vmap(jax.random.split)(keys)[:, 0])
    labels = labels.astype(jnp.int32)
    image = networks.only_seen(to_float(image), labels)
    latents = networks.encoder.apply(variables["encoder"], image, labels, keys[:, 0])
    return latent_codes.sample(latents, None if networks.means_in_use else keys[:, 1])


@functools.partial(jax.jit, static_argnums=0)
def generate(
    networks: Networks, variables: Variables, labels: Array, latents: Latents, keys: Array
) -> Array:
    """Generates images.

    Args:
      networks: the model's networks.
      variables: the model's variables.
      labels: labels `[B, H, W]`.
      latents: latents of `encode`, or a mix of them.
      keys: one key per image, `[B]`, for the generator's noise.

    Returns:
      Images `[B, H, W, 3]` in [-1, 1].
    """
    keys = jax.vmap(jax.random.split)(keys)[:, 1]
    labels = labels.astype(jnp.int32)
    return cast(Array, networks.generator.apply(variables["generator"], labels, latents, keys))


@functools.partial(jax.jit, static_argnums=0)
def mix(networks: Networks, sources: Array, subject: Latents, target: Latents) -> Latents:
    """Mixes the latents of two images.

    Args:
      networks: the model's networks.
      sources: whose latents each label takes, `[B, L]` or `[1, L]`, see `sources.find`.
      subject: the subject's latents.
      target: the target's latents.
    """
    return networks.encoder.mix(sources, subject, target)


@functools.partial(jax.jit, static_argnums=0)
def blend(
    networks: Networks, sources: Array, shares: Array, givers: Sequence[Latents], target: Latents
) -> Latents:
    """Blends the latents of several images. A share of 1 gives exactly what `mix` gives.

    Args:
      networks: the model's networks.
      sources: whose latents each label takes from each giver, `[G, B, L]` or `[G, 1, L]`.
      shares: the share of each giver in each label, `[G, L]`; the rest is the target's.
      givers: latents of G images.
      target: the target's latents.
    """
    labels = jnp.arange(shares.shape[1])
    full, none = jax.tree.map(jnp.ones_like, target), jax.tree.map(jnp.zeros_like, target)
    # Where in the latents each label lies, [L, ...]. Some models have latents of several labels.
    places = jax.vmap(
        lambda label: networks.encoder.mix(jnp.where(labels == label, labels, -1)[None], full, none)
    )(labels)

    def of_leaf(place: Array, own: Array, *given: Array) -> Array:
        weights = [(place * share.reshape(-1, *[1] * own.ndim)).max(0) for share in shares]
        total = sum(weights)
        blended = (1 - jnp.minimum(total, 1)) * own
        return blended + sum(
            w / jnp.maximum(total, 1) * x for w, x in zip(weights, given, strict=True)
        )

    mixed = [
        networks.encoder.mix(source, giver, target)
        for source, giver in zip(sources, givers, strict=True)
    ]
    return jax.tree.map(of_leaf, places, target, *mixed)


def reconstruct(
    networks: Networks, variables: Variables, image: ArrayLike, labels: ArrayLike, keys: Array
) -> Array:
    """Generates images `[B, H, W, 3]` in [-1, 1] from their own latents.

    The arguments are those of `encode`.
    """
    latents = encode(networks, variables, image, labels, keys)
    return generate(networks, variables, labels, latents, keys)


def transfer(
    networks: Networks,
    variables: Variables,
    subject_image: ArrayLike,
    subject_labels: ArrayLike,
    target_image: ArrayLike,
    target_labels: ArrayLike,
    sources: ArrayLike,
    keys: Array,
) -> Array:
    """Puts subjects into the pose and scene of their targets (paper, section 3.4).

    Args:
      networks: the model's networks.
      variables: the model's variables.
      subject_image: images `uint8 [B, H, W, 3]`.
      subject_labels: labels `[B, H, W]`.
      target_image: images `uint8 [B, H, W, 3]`.
      target_labels: labels `[B, H, W]`, which are also those of the result.
      sources: whose latents each label takes, `[B, L]` or `[1, L]`, see `sources.find`.
      keys: one key per image, `[B]`.

    Returns:
      Images `[B, H, W, 3]` in [-1, 1].
    """
    subject = encode(networks, variables, subject_image, subject_labels, keys)
    target = encode(networks, variables, target_image, target_labels, keys)
    latents = mix(networks, sources, subject, target)
    return generate(networks, variables, target_labels, latents, keys)
