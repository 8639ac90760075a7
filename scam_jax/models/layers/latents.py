"""Latents, the output of encoders: arrays, or Gaussians to sample arrays from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
# An array `[B, ...]`, a Gaussian, or a tuple of either.
Latents = Any


class Gaussian(NamedTuple):
    """The latents of a variational encoder: mean and log variance, each `[B, ...]`."""

    mean: Array
    log_variance: Array


def _is_gaussian(tree: Any) -> bool:
    return isinstance(tree, Gaussian)


def gaussians(latents: Latents) -> list[Gaussian]:
    """Returns the Gaussians among latents, in the order of the pytree."""
    return [x for x in jax.tree.leaves(latents, is_leaf=_is_gaussian) if _is_gaussian(x)]


def sample(latents: Latents, keys: Array | None) -> Latents:
    """Replaces every `Gaussian` by a sample of it, as generators expect.

    Args:
      latents: an encoder's output.
      keys: PRNG keys `[B]`, one per example, or None to use the means.

    Returns:
      Latents without Gaussians; arrays are returned unchanged.
    """
    leaves, structure = jax.tree.flatten(latents, is_leaf=_is_gaussian)
    drawn = [_draw(leaf, keys, i) if _is_gaussian(leaf) else leaf for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, drawn)


def mix(sources: Array, subject: Latents, target: Latents) -> Latents:
    """Mixes two images' latents by label.

    Args:
      sources: `[B, L]`, see `scam_jax.models.Networks`.
      subject: the subject's latents, arrays `[B, L, ...]`.
      target: the target's latents, of the same form.
    """

    def of_leaf(a: Array, b: Array) -> Array:
        index = sources.reshape(*sources.shape, *[1] * (a.ndim - 2))
        return jnp.where(index < 0, b, jnp.take_along_axis(a, jnp.maximum(index, 0), axis=1))

    return jax.tree.map(of_leaf, subject, target)


def _draw(gaussian: Gaussian, keys: Array | None, index: int) -> Array:
    if keys is None:
        return gaussian.mean

    def normal(key):
        return jax.random.normal(jax.random.fold_in(key, index), gaussian.mean.shape[1:])

    return gaussian.mean + jnp.exp(0.5 * gaussian.log_variance) * jax.vmap(normal)(keys)
