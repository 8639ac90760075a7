"""Encodes, generates, reconstructs and transfers batches, for evaluation and inference.

Encoding, mixing and generating are compiled once for all models with the same networks. Input
images are `uint8`, labels have any integer type. Noise is drawn from one key per image, so it
depends neither on the batch size nor on the number of devices.
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
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
    """Encodes images. Latents of a variational encoder are sampled, as in the published results.

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
    return latent_codes.sample(latents, keys[:, 1])


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
def mix(networks: Networks, from_subject: Array, subject: Latents, target: Latents) -> Latents:
    """Mixes the latents of two images.

    Args:
      networks: the model's networks.
      from_subject: bool `[L]`, whether a label takes its latents from the subject.
      subject: the subject's latents.
      target: the target's latents, which all other labels take.
    """
    return networks.encoder.mix(from_subject, subject, target)


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
    from_subject: ArrayLike,
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
      from_subject: bool `[L]`, whether a label takes its latents from the subject.
      keys: one key per image, `[B]`.

    Returns:
      Images `[B, H, W, 3]` in [-1, 1].
    """
    subject = encode(networks, variables, subject_image, subject_labels, keys)
    target = encode(networks, variables, target_image, target_labels, keys)
    latents = mix(networks, from_subject, subject, target)
    return generate(networks, variables, target_labels, latents, keys)


def remarks(
    subject_labels: np.ndarray,
    target_labels: np.ndarray,
    num_labels: int,
    labels: Collection[int] | None = None,
) -> list[str]:
    """Returns what a transfer cannot do for lack of labels, one sentence each.

    Args:
      subject_labels: the subject's label map, `[H, W]`.
      target_labels: the target's label map, `[H, W]`.
      num_labels: number of labels of the model.
      labels: labels to take from the subject, or None for all except the background.
    """
    chosen = {*np.flatnonzero(taken(num_labels, labels)).tolist()}
    has, shown = {*np.unique(subject_labels).tolist()}, {*np.unique(target_labels).tolist()}
    if not chosen & shown:
        return [
            "the target shows no label that is taken from the subject: the transfer has nothing of "
            "the subject"
        ]
    lacking = sorted(chosen & shown - has)
    if not lacking:
        return []
    listed = ", ".join(map(str, lacking))
    return [
        f"the subject has no pixels of label {listed}, which the target shows: the model's guess "
        "without pixels stands in"
    ]


def taken(num_labels: int, labels: Collection[int] | None) -> np.ndarray:
    """Converts the labels to take from the subject to a mask, bool `[L]`.

    Args:
      num_labels: L.
      labels: labels to take from the subject, or None for all except the background.

    Raises:
      ValueError: there is no such label.
    """
    chosen = range(1, num_labels) if labels is None else labels
    wrong = [label for label in chosen if not 0 <= label < num_labels]
    if wrong:
        raise ValueError(f"there is no label {wrong[0]}: this model has 0 … {num_labels - 1}")
    return np.isin(np.arange(num_labels), [*chosen])
