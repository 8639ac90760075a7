"""What encoders give generators: arrays, or the Gaussians that those are drawn from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
# An array `[B, ...]`, a Gaussian, or a tuple of either.
Latents = Any


class Gaussian(NamedTuple):
    """A variational encoder's latents: mean and log variance, each `[B, ...]`."""

    mean: Array
    log_variance: Array


def _is_gaussian(tree: Any) -> bool:
    return isinstance(tree, Gaussian)


def gaussians(latents: Latents) -> list[Gaussian]:
    """The Gaussians among latents, in order."""
    return [x for x in jax.tree.leaves(latents, is_leaf=_is_gaussian) if _is_gaussian(x)]


def sample(latents: Latents, keys: Array | None) -> Latents:
    """Latents to generate from: every `Gaussian` drawn with `keys [B]`, arrays as they are.

    Without keys a `Gaussian` gives its mean.
    """
    leaves, structure = jax.tree.flatten(latents, is_leaf=_is_gaussian)
    drawn = [_draw(leaf, keys, i) if _is_gaussian(leaf) else leaf for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, drawn)


def _draw(gaussian: Gaussian, keys: Array | None, index: int) -> Array:
    if keys is None:
        return gaussian.mean

    def normal(key):
        return jax.random.normal(jax.random.fold_in(key, index), gaussian.mean.shape[1:])

    return gaussian.mean + jnp.exp(0.5 * gaussian.log_variance) * jax.vmap(normal)(keys)
