"""Attention between pixels and the latents of their own label, and its derivatives.

The formulas and their derivatives are written once, of products in a `Space`: `Tiled` on CPUs,
`Dense` elsewhere.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from scam_jax.models.scam.region_spaces import Dense, Space, Tiled
from scam_jax.models.scam.regions import Regions

Array = jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def mix(
    regions: Regions,
    num_heads: int,
    pixels: Array,
    keys: Array,
    constant: Array,
    tables: list[Array],
) -> list[Array]:
    """Lets each pixel average the latents of its label, by the softmax of its products with keys.

    Args:
      regions: regions of the P pixels.
      num_heads: number of heads H; each has a softmax of its own.
      pixels: `[B, P, C]`.
      keys: `[B, L, K·H, C]`.
      constant: what is added to the products, `[B, L, K·H]`.
      tables: what is averaged, several `[B, L, K·H, E]`.

    Returns:
      `[B, P, E]` for each table, of its type: the sum over the heads.
    """
    return _mix_forward(regions, num_heads, pixels, keys, constant, tables)[0]


def mix_weights(
    regions: Regions, num_heads: int, pixels: Array, keys: Array, constant: Array
) -> Array:
    """Returns the weights with which `mix` averages, `[B, P, K·H]`, float32."""

    def evaluate(space, pixels, keys, constant):
        return space.leave(_softmax(space, num_heads, space.enter(pixels), keys, constant))

    return dispatch(regions, evaluate, pixels, keys, constant)


@jax.custom_vjp
def collect(regions: Regions, pixels: Array, queries: Array) -> tuple[Array, Array]:
    """Lets each latent sum the pixels of its label, by the exponentials of its products with them.

    Args:
      regions: regions of the P pixels.
      pixels: `[B, P, C]`.
      queries: `[B, L, K, C]`.

    Returns:
      The sums `[B, L, K, C]` and their weights' sums `[B, L, K]`, float32; 0 for a label without
      pixels. The largest weight of a latent is 1.
    """
    return _collect_forward(regions, pixels, queries)[0]


def collect_shares(regions: Regions, pixels: Array, queries: Array) -> Array:
    """Returns each pixel's share in the averages of `collect`, `[B, P, K]`."""

    def evaluate(space, pixels, queries):
        weights = _exponentials(space, space.enter(pixels), queries)
        sums = space.total(weights)
        return space.leave(weights * space.spread(1 / jnp.where(sums > 0, sums, 1)))

    return dispatch(regions, evaluate, pixels, queries)


# The formulas.


def _softmax(space: Space, num_heads: int, x: Array, keys: Array, constant: Array) -> Array:
    return space.softmax(space.scores(x, keys) + space.spread(constant), num_heads)


def _exponentials(space: Space, x: Array, queries: Array) -> Array:
    logits = space.scores(x, queries)
    top = space.highest(logits)
    top = jnp.where(jnp.isfinite(top), top, 0)
    return jnp.exp(logits - space.spread(top)).astype(x.dtype)


def _mix_forward(regions, num_heads, *operands):
    def evaluate(space, pixels, keys, constant, tables):
        weights = _softmax(space, num_heads, space.enter(pixels), keys, constant)
        return space.mix(weights, tables), space.keep(weights)

    out, kept = dispatch(regions, evaluate, *operands)
    return out, (regions, operands, kept)


def _mix_backward(num_heads, residuals, gradients):
    def evaluate(space, kept, pixels, keys, constant, tables, gradients):
        x, gradients = space.enter(pixels), [space.enter(g) for g in gradients]
        weights = space.recall(kept, lambda: _softmax(space, num_heads, x, keys, constant))
        pairs = list(zip(gradients, tables, strict=True))
        to_tables = [space.collect(weights, g).astype(table.dtype) for g, table in pairs]
        to_weights = sum(space.scores(g, table) for g, table in pairs)
        to_logits = space.softmax_gradient(weights, to_weights, num_heads)
        to_keys = space.collect(to_logits, x).astype(keys.dtype)
        to_constant = space.total(to_logits).astype(constant.dtype)
        (to_pixels,) = space.mix(to_logits, [keys])
        return to_pixels.astype(pixels.dtype), to_keys, to_constant, to_tables

    regions, operands, kept = residuals
    return None, *dispatch(regions, evaluate, kept, *operands, gradients)


mix.defvjp(_mix_forward, _mix_backward)


def _collect_forward(regions, *operands):
    def evaluate(space, pixels, queries):
        x = space.enter(pixels)
        weights = _exponentials(space, x, queries)
        return (space.collect(weights, x), space.total(weights)), space.keep(weights)

    out, kept = dispatch(regions, evaluate, *operands)
    return out, (regions, operands, kept)


def _collect_backward(residuals, gradients):
    def evaluate(space, kept, pixels, queries, to_sums, to_totals):
        x, to_sums = space.enter(pixels), to_sums.astype(pixels.dtype)
        weights = space.recall(kept, lambda: _exponentials(space, x, queries))
        to_weights = space.scores(x, to_sums) + space.spread(to_totals)
        to_logits = to_weights * weights
        to_queries = space.collect(to_logits, x).astype(queries.dtype)
        (by_sums,), (by_logits,) = space.mix(weights, [to_sums]), space.mix(to_logits, [queries])
        return (by_sums + by_logits).astype(pixels.dtype), to_queries

    regions, operands, kept = residuals
    return None, *dispatch(regions, evaluate, kept, *operands, *gradients)


collect.defvjp(_collect_forward, _collect_backward)


def dispatch(regions: Regions, formula: Callable, *operands: Any) -> Any:
    """Evaluates `formula(space, *operands)`, in `Tiled` on CPUs if there are tiles."""

    def dense(regions, *operands):
        return formula(Dense(regions), *operands)

    def tiled(regions, *operands):
        return formula(Tiled(regions), *operands)

    if regions.tiles is None:
        return dense(regions, *operands)
    return jax.lax.platform_dependent(regions, *operands, cpu=tiled, default=dense)
