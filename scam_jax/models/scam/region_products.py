"""Products between pixels and the latents of their own label.

Each pixel interacts only with the K latents of its own label, out of L·K in all. A formula of such
products is written once, for a `Space` in which pixels are arranged: `run(regions, formula, ...)`
evaluates it in the space that suits the platform. Accelerators gather rows slowly, so in `Dense`
each pixel is multiplied by the latents of all labels and selects those of its own. In `Tiled`, for
CPUs, pixels are sorted into tiles of one label and never meet another label's latents.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from scam_jax.models.scam.regions import TILE, Regions, Tiles

Array = jax.Array


class Space(Protocol):
    """An arrangement of the pixels of a batch, and products with the latents of their labels.

    `x` are arranged pixels, of C channels. `weights` are arranged too: one for each pixel and each
    of the K latents of its label.
    """

    def enter(self, pixels: Array) -> Array:
        """Arranges pixels `[B, P, C]`."""

    def leave(self, x: Array) -> Array:
        """Returns arranged pixels to their order, `[B, P, C]`."""

    def leave_weights(self, weights: Array) -> Array:
        """Returns weights in the order of their pixels, `[B, P, K]`."""

    def scores(self, x: Array, table: Array) -> Array:
        """Multiplies pixels by the latents `[B, L, K, C]`, summed over c: weights, float32."""

    def spread(self, values: Array) -> Array:
        """Copies values of each label, `[B, L, K]`, to its pixels: weights, float32."""

    def softmax(self, logits: Array, num_heads: int) -> Array:
        """Returns the softmax over the latents of each head; K is (latents, heads)."""

    def mix(self, weights: Array, table: Array) -> Array:
        """Sums latents `[B, L, K, C]` with weights, over k: arranged pixels of the table's type."""

    def collect(self, weights: Array, x: Array) -> Array:
        """Sums the pixels of each label with weights: `[B, L, K, C]`, float32."""

    def total(self, weights: Array) -> Array:
        """Sums weights over the pixels of each label: `[B, L, K]`, float32."""

    def highest(self, weights: Array) -> Array:
        """Returns the maximum over each label's pixels, `[B, L, K]`, −∞ for none; no gradient."""


# Maps a space and arrays to arrays. What it computes from x in empty places of tiles, it leaves
# there.
Formula = Callable[..., Any]


def run(regions: Regions, formula: Formula, *operands: Array) -> Any:
    """Evaluates a formula in the space that suits the platform.

    The backward pass keeps the operands and nothing else.

    Args:
      regions: regions of the pixels.
      formula: a function `(space, *operands)`.
      *operands: its arrays.

    Returns:
      What the formula returns, the same in each space.
    """

    @jax.custom_vjp
    def evaluate(regions, *operands):
        tiled, dense = (_formula_in(space, formula) for space in (Tiled, Dense))
        return _dispatch(regions, tiled, dense, *operands)

    def forward(regions, *operands):
        return evaluate(regions, *operands), (regions, operands)

    def backward(kept, gradient):
        def pulled(space, gradient, *operands):
            return jax.vjp(partial(formula, space), *operands)[1](gradient)

        regions, operands = kept
        tiled, dense = (_formula_in(space, pulled) for space in (Tiled, Dense))
        return None, *_dispatch(regions, tiled, dense, gradient, *operands)

    evaluate.defvjp(forward, backward)
    return evaluate(regions, *operands)


def _formula_in(space: Callable[[Regions], Space], formula: Formula) -> Callable[..., Any]:
    return lambda regions, *operands: formula(space(regions), *operands)


def _dispatch(regions: Regions, tiled, dense, *operands: Any) -> Any:
    """Calls `tiled` on CPUs if there are tiles, and `dense` otherwise."""
    if regions.tiles is None:
        return dense(regions, *operands)
    return jax.lax.platform_dependent(regions, *operands, cpu=tiled, default=dense)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_of_products(spec: str, a: Array, b: Array) -> Array:
    """Computes `einsum(spec, a, b)` in float32; the derivatives are in the type of a and b."""
    return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)


def _sum_forward(spec, a, b):
    return _sum_of_products(spec, a, b), (a, b)


def _sum_backward(spec, kept, g):
    a, b = kept
    (of_a, of_b), of_out = spec.split("->")[0].split(","), spec.split("->")[1]
    g = g.astype(b.dtype)
    return jnp.einsum(f"{of_out},{of_b}->{of_a}", g, b), jnp.einsum(
        f"{of_out},{of_a}->{of_b}", g, a
    )


_sum_of_products.defvjp(_sum_forward, _sum_backward)


class Dense:
    """Pixels as they are, x `[B, P, C]` and weights `[B, P, K]`; see `Space`.

    Products are with the latents of all labels, of which each pixel selects its own.
    """

    def __init__(self, regions: Regions):
        self.regions = regions
        # Whether each pixel has each label, bool [B, P, L, 1].
        labels = jnp.arange(regions.num_labels)
        self.mask = (regions.labels[..., None] == labels)[..., None]

    def enter(self, pixels: Array) -> Array:
        return pixels

    def leave(self, x: Array) -> Array:
        return x

    def leave_weights(self, weights: Array) -> Array:
        return weights

    def scores(self, x: Array, table: Array) -> Array:
        labels, slots = table.shape[1:3]
        flat = table.reshape(table.shape[0], labels * slots, -1)
        everything = jnp.einsum("bpc,bnc->bpn", x, flat)
        everything = everything.reshape(*everything.shape[:2], labels, slots)
        return jnp.where(self.mask, everything.astype(jnp.float32), 0).sum(2)

    def spread(self, values: Array) -> Array:
        return self.scores(self._ones(values.dtype), values[..., None])

    def softmax(self, logits: Array, num_heads: int) -> Array:
        per_head = logits.reshape(*logits.shape[:2], -1, num_heads)
        return jax.nn.softmax(per_head, axis=2).reshape(logits.shape)

    def mix(self, weights: Array, table: Array) -> Array:
        flat = table.reshape(table.shape[0], -1, table.shape[-1])
        return jnp.einsum("bpn,bnc->bpc", self._over_all_latents(weights, table.dtype), flat)

    def collect(self, weights: Array, x: Array) -> Array:
        out = _sum_of_products("bpn,bpc->bnc", self._over_all_latents(weights, x.dtype), x)
        return out.reshape(x.shape[0], self.regions.num_labels, -1, x.shape[-1])

    def total(self, weights: Array) -> Array:
        return self.collect(weights, self._ones(weights.dtype))[..., 0]

    def highest(self, weights: Array) -> Array:
        weights = jax.lax.stop_gradient(weights)
        return jnp.where(self.mask, weights[:, :, None], -jnp.inf).max(axis=1)

    def _ones(self, dtype: jnp.dtype) -> Array:
        return jnp.ones((*self.regions.labels.shape, 1), dtype)

    def _over_all_latents(self, weights: Array, dtype: jnp.dtype) -> Array:
        """Returns weights over the latents of all labels, `[B, P, L·K]`, 0 for other labels."""
        everywhere = jnp.where(self.mask, weights[:, :, None], 0).astype(dtype)
        return everywhere.reshape(*everywhere.shape[:2], -1)


class Tiled:
    """Pixels in tiles, x `[B, T, TILE, C]` and weights `[B, T, K, TILE]`; see `Space`.

    Products are one for each tile. In empty places is any pixel, which no sum counts.
    """

    def __init__(self, regions: Regions):
        assert regions.tiles is not None
        self.regions, self.tiles = regions, regions.tiles

    def enter(self, pixels: Array) -> Array:
        return _to_tiles(self.tiles, pixels)

    def leave(self, x: Array) -> Array:
        return _from_tiles(self.tiles, x)

    def leave_weights(self, weights: Array) -> Array:
        return _from_tiles(self.tiles, weights.swapaxes(2, 3))

    def scores(self, x: Array, table: Array) -> Array:
        own = _of_tiles(self.regions, table)
        return jnp.einsum("btpc,btkc->btkp", x, own).astype(jnp.float32)

    def spread(self, values: Array) -> Array:
        return _of_tiles(self.regions, values.astype(jnp.float32))[..., None]

    def softmax(self, logits: Array, num_heads: int) -> Array:
        per_head = logits.reshape(*logits.shape[:2], -1, num_heads, TILE)
        return jax.nn.softmax(per_head, axis=2).reshape(logits.shape)

    def mix(self, weights: Array, table: Array) -> Array:
        own = _of_tiles(self.regions, table)
        return jnp.einsum("btkp,btkc->btpc", weights.astype(table.dtype), own)

    def collect(self, weights: Array, x: Array) -> Array:
        sums = _sum_of_products("btkp,btpc->btkc", self._full(weights, 0).astype(x.dtype), x)
        return _sum_of_tiles(self.regions, sums)

    def total(self, weights: Array) -> Array:
        sums = self._full(weights, 0).astype(jnp.float32).sum(3)
        return _sum_of_tiles(self.regions, sums)

    def highest(self, weights: Array) -> Array:
        tops = self._full(jax.lax.stop_gradient(weights), -jnp.inf).max(axis=3)
        top_of = partial(
            jax.ops.segment_max, num_segments=self.regions.num_labels, indices_are_sorted=True
        )
        return jax.vmap(top_of)(tops, self.tiles.label)

    def _full(self, weights: Array, otherwise: float) -> Array:
        return jnp.where(self.tiles.full[:, :, None], weights, otherwise)


# Each of these pairs is the other's derivative, in which XLA's own scatters would be slower.


@jax.custom_vjp
def _to_tiles(tiles: Tiles, x: Array) -> Array:
    """Moves pixels to tiles: `[B, P, C]` to `[B, T, TILE, C]`, any pixel in an empty place."""
    return jax.vmap(lambda x, pixel: x[pixel])(x, tiles.pixel)


@jax.custom_vjp
def _from_tiles(tiles: Tiles, y: Array) -> Array:
    """Moves pixels back from tiles: `[B, T, TILE, C]` to `[B, P, C]`."""
    flat = y.reshape(y.shape[0], -1, y.shape[-1])
    return jax.vmap(lambda y, place: y[place])(flat, tiles.place)


def _from_tiles_backward(tiles, g):
    return None, jnp.where(tiles.full[..., None], _to_tiles(tiles, g), 0)


_to_tiles.defvjp(
    lambda tiles, x: (_to_tiles(tiles, x), tiles), lambda tiles, g: (None, _from_tiles(tiles, g))
)
_from_tiles.defvjp(lambda tiles, y: (_from_tiles(tiles, y), tiles), _from_tiles_backward)


@jax.custom_vjp
def _of_tiles(regions: Regions, table: Array) -> Array:
    """Looks up what belongs to each tile's label: `[B, L, ...]` to `[B, T, ...]`."""
    assert regions.tiles is not None
    if regions.ignores:
        table = jnp.pad(table, ((0, 0), (0, 1), *[(0, 0)] * (table.ndim - 2)))
    return jax.vmap(lambda table, label: table[label])(table, regions.tiles.label)


@jax.custom_vjp
def _sum_of_tiles(regions: Regions, values: Array) -> Array:
    """Sums over the tiles of each label, `[B, T, ...]` to `[B, L, ...]`; label L is dropped."""
    assert regions.tiles is not None
    add_up = partial(jax.ops.segment_sum, num_segments=regions.num_labels, indices_are_sorted=True)
    return jax.vmap(add_up)(values, regions.tiles.label)


_of_tiles.defvjp(
    lambda regions, table: (_of_tiles(regions, table), regions),
    lambda regions, g: (None, _sum_of_tiles(regions, g)),
)
_sum_of_tiles.defvjp(
    lambda regions, values: (_sum_of_tiles(regions, values), regions),
    lambda regions, g: (None, _of_tiles(regions, g)),
)
