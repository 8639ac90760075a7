"""Encodes, generates, reconstructs and transfers batches: what evaluation and inference share.

Encoding, mixing and generating are compiled once for all models of the same networks. Images go in
as `uint8`, labels as any integers. Noise is drawn from one key an image, so it depends neither on
the batch size nor on the number of devices.
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.images import to_float
from scam_jax.models import Networks
from scam_jax.models.layers import latents as latent_codes
from scam_jax.models.layers.latents import Latents

Array = jax.Array
# `{'encoder': ..., 'generator': ...}`, each with all collections.
Variables = Mapping[str, Any]


def image_keys(seed: int | Array, places: Array) -> Array:
    """A key an image `[B]`, from a seed and the places `[B]` of the images in their data set."""
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(places)


@functools.partial(jax.jit, static_argnums=0)
def encode(
    networks: Networks, variables: Variables, image: Array, labels: Array, keys: Array
) -> Latents:
    """Latents of images.

    Args:
      networks: of the model.
      variables: of the model.
      image: `uint8 [B, H, W, 3]`.
      labels: `[B, H, W]`.
      keys: `[B]`. A variational encoder's latents are drawn, as the baselines were evaluated.
    """
    keys = jax.vmap(jax.random.split)(jax.vmap(jax.random.split)(keys)[:, 0])
    labels = labels.astype(jnp.int32)
    latents = networks.encoder.apply(variables["encoder"], to_float(image), labels, keys[:, 0])
    return latent_codes.sample(latents, keys[:, 1])


@functools.partial(jax.jit, static_argnums=0)
def generate(
    networks: Networks, variables: Variables, labels: Array, latents: Latents, keys: Array
) -> Array:
    """Images `[B, H, W, 3]` in [-1, 1].

    Args:
      networks: of the model.
      variables: of the model.
      labels: `[B, H, W]`.
      latents: what `encode` gives, or a mix.
      keys: `[B]`, of the generator's noise.
    """
    keys = jax.vmap(jax.random.split)(keys)[:, 1]
    return networks.generator.apply(variables["generator"], labels.astype(jnp.int32), latents, keys)


@functools.partial(jax.jit, static_argnums=0)
def mix(networks: Networks, from_subject: Array, subject: Latents, target: Latents) -> Latents:
    """The subject's latents of the labels in `from_subject`, bool `[L]`; the target's of others."""
    return networks.encoder.mix(from_subject, subject, target)


def reconstruct(
    networks: Networks, variables: Variables, image: Array, labels: Array, keys: Array
) -> Array:
    """Images `[B, H, W, 3]` in [-1, 1] from their own latents; arguments as `encode`."""
    latents = encode(networks, variables, image, labels, keys)
    return generate(networks, variables, labels, latents, keys)


def transfer(
    networks: Networks,
    variables: Variables,
    subject_image: Array,
    subject_labels: Array,
    target_image: Array,
    target_labels: Array,
    from_subject: Array,
    keys: Array,
) -> Array:
    """Subjects in their targets' pose and scene (paper, section 3.4).

    Args:
      networks: of the model.
      variables: of the model.
      subject_image, target_image: `uint8 [B, H, W, 3]`.
      subject_labels, target_labels: `[B, H, W]`. The result has the target's label map.
      from_subject: bool `[L]`, the labels whose latents come from the subject.
      keys: `[B]`.

    Returns:
      images `[B, H, W, 3]` in [-1, 1].
    """
    subject = encode(networks, variables, subject_image, subject_labels, keys)
    target = encode(networks, variables, target_image, target_labels, keys)
    latents = mix(networks, from_subject, subject, target)
    return generate(networks, variables, target_labels, latents, keys)


def taken(num_labels: int, labels: Collection[int] | None) -> np.ndarray:
    """Which labels are taken from the subject, bool `[L]`.

    Args:
      num_labels: L.
      labels: those to take; None means all but the background.

    Raises:
      ValueError: there is no such label.
    """
    chosen = range(1, num_labels) if labels is None else labels
    wrong = [label for label in chosen if not 0 <= label < num_labels]
    if wrong:
        raise ValueError(f"there is no label {wrong[0]}: this model has 0 … {num_labels - 1}")
    return np.isin(np.arange(num_labels), [*chosen])
