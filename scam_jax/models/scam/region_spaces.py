"""Products between pixels and the latents of their own label.

Each pixel interacts only with the K latents of its own label, out of L·K in all. Accelerators
gather rows slowly, so in `Dense` each pixel is multiplied by the latents of all labels and selects
those of its own. In `Tiled`, for CPUs, pixels are sorted into tiles of one label and never meet
another label's latents.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.scam.regions import TILE, Regions, Tiles

Array = jax.Array


class Space(Protocol):
    """An arrangement of the pixels of a batch, and products with the latents of their labels.

    `x` are arranged pixels, of C channels. `weights` are arranged too: one for each pixel and each
    of the K latents of its label.
    """

    def enter(self, pixels: Array) -> Array:
        """Arranges pixels `[B, P, C]`."""

    def leave(self, weights: Array) -> Array:
        """Returns weights in the order of their pixels, `[B, P, K]`."""

    def keep(self, weights: Array) -> Array:
        """Returns what the backward pass needs of weights, `[B, P, K]`."""

    def recall(self, kept: Array, compute: Callable[[], Array]) -> Array:
        """Returns the weights again, from what was kept or by computing them."""

    def scores(self, x: Array, table: Array) -> Array:
        """Multiplies pixels by the latents `[B, L, K, C]`, summed over c: weights, float32."""

    def spread(self, values: Array) -> Array:
        """Copies values of each label, `[B, L, K]`, to its pixels: weights, float32."""

    def softmax(self, logits: Array, num_heads: int) -> Array:
        """Returns the softmax over the latents of each head; K is (latents, heads)."""

    def softmax_gradient(self, weights: Array, to_weights: Array, num_heads: int) -> Array:
        """Returns the gradient of the logits, from a softmax's weights and their gradient."""

    def mix(self, weights: Array, tables: Sequence[Array]) -> list[Array]:
        """Sums latents with weights, over k.

        Args:
          weights: the weights.
          tables: latents `[B, L, K, C]`, several kinds.

        Returns:
          Pixels in their order `[B, P, C]`, for each table, of its type.
        """

    def collect(self, weights: Array, x: Array) -> Array:
        """Sums the pixels of each label with weights: `[B, L, K, C]`, float32."""

    def total(self, weights: Array) -> Array:
        """Sums weights over the pixels of each label: `[B, L, K]`, float32."""

    def highest(self, weights: Array) -> Array:
        """Returns the maximum over each label's pixels, `[B, L, K]`, −∞ for none."""


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

    def leave(self, weights: Array) -> Array:
        return weights

    def keep(self, weights: Array) -> Array:
        return weights

    def recall(self, kept: Array, compute: Callable[[], Array]) -> Array:
        return kept

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

    def softmax_gradient(self, weights: Array, to_weights: Array, num_heads: int) -> Array:
        heads = (*weights.shape[:2], -1, num_heads)
        return _softmax_gradient(weights.reshape(heads), to_weights.reshape(heads)).reshape(
            weights.shape
        )

    def mix(self, weights: Array, tables: Sequence[Array]) -> list[Array]:
        # Not at once: XLA would write the sums for all tables, and then each of them again.
        everywhere = self._over_all_latents(weights, tables[0].dtype)
        flat = [table.reshape(table.shape[0], -1, table.shape[-1]) for table in tables]
        return [jnp.einsum("bpn,bnc->bpc", everywhere, table) for table in flat]

    def collect(self, weights: Array, x: Array) -> Array:
        everywhere = self._over_all_latents(weights, x.dtype)
        out = jnp.einsum("bpn,bpc->bnc", everywhere, x, preferred_element_type=jnp.float32)
        return out.reshape(x.shape[0], self.regions.num_labels, -1, x.shape[-1])

    def total(self, weights: Array) -> Array:
        return self.collect(weights, self._ones(weights.dtype))[..., 0]

    def highest(self, weights: Array) -> Array:
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

    def leave(self, weights: Array) -> Array:
        return _from_tiles(self.tiles, weights.swapaxes(2, 3))

    def keep(self, weights: Array) -> Array:
        # Moving them out of their tiles and back would cost more than computing them anew.
        return jnp.zeros((*self.regions.labels.shape, weights.shape[2]), weights.dtype)

    def recall(self, kept: Array, compute: Callable[[], Array]) -> Array:
        return compute()

    def scores(self, x: Array, table: Array) -> Array:
        own = _of_tiles(self.regions, table)
        return jnp.einsum("btpc,btkc->btkp", x, own).astype(jnp.float32)

    def spread(self, values: Array) -> Array:
        return _of_tiles(self.regions, values.astype(jnp.float32))[..., None]

    def softmax(self, logits: Array, num_heads: int) -> Array:
        per_head = logits.reshape(*logits.shape[:2], -1, num_heads, TILE)
        return jax.nn.softmax(per_head, axis=2).reshape(logits.shape)

    def softmax_gradient(self, weights: Array, to_weights: Array, num_heads: int) -> Array:
        heads = (*weights.shape[:2], -1, num_heads, TILE)
        return _softmax_gradient(weights.reshape(heads), to_weights.reshape(heads)).reshape(
            weights.shape
        )

    def mix(self, weights: Array, tables: Sequence[Array]) -> list[Array]:
        # All at once, so that few and long rows are moved.
        own = _of_tiles(self.regions, jnp.concatenate(tables, axis=-1))
        sums = jnp.einsum("btkp,btkc->btpc", weights.astype(own.dtype), own)
        ends = np.cumsum([table.shape[-1] for table in tables])
        return jnp.split(_from_tiles(self.tiles, sums), ends[:-1], axis=-1)

    def collect(self, weights: Array, x: Array) -> Array:
        weights = self._full(weights, 0).astype(x.dtype)
        sums = jnp.einsum("btkp,btpc->btkc", weights, x, preferred_element_type=jnp.float32)
        return _sum_of_tiles(self.regions, sums)

    def total(self, weights: Array) -> Array:
        sums = self._full(weights, 0).astype(jnp.float32).sum(3)
        return _sum_of_tiles(self.regions, sums)

    def highest(self, weights: Array) -> Array:
        tops = self._full(weights, -jnp.inf).max(axis=3)
        top_of = partial(
            jax.ops.segment_max, num_segments=self.regions.num_labels, indices_are_sorted=True
        )
        return jax.vmap(top_of)(tops, self.tiles.label)

    def _full(self, weights: Array, otherwise: float) -> Array:
        return jnp.where(self.tiles.full[:, :, None], weights, otherwise)


def _softmax_gradient(weights: Array, to_weights: Array) -> Array:
    """Returns the gradient of a softmax's logits along axis 2."""
    return weights * (to_weights - (weights * to_weights).sum(2, keepdims=True))


def _to_tiles(tiles: Tiles, x: Array) -> Array:
    """Moves pixels to tiles: `[B, P, C]` to `[B, T, TILE, C]`, any pixel in an empty place."""
    return jax.vmap(lambda x, pixel: x[pixel])(x, tiles.pixel)


def _from_tiles(tiles: Tiles, y: Array) -> Array:
    """Moves pixels back from tiles: `[B, T, TILE, C]` to `[B, P, C]`."""
    flat = y.reshape(y.shape[0], -1, y.shape[-1])
    return jax.vmap(lambda y, place: y[place])(flat, tiles.place)


def _of_tiles(regions: Regions, table: Array) -> Array:
    """Looks up what belongs to each tile's label: `[B, L, ...]` to `[B, T, ...]`."""
    assert regions.tiles is not None
    if regions.ignores:
        table = jnp.pad(table, ((0, 0), (0, 1), *[(0, 0)] * (table.ndim - 2)))
    return jax.vmap(lambda table, label: table[label])(table, regions.tiles.label)


def _sum_of_tiles(regions: Regions, values: Array) -> Array:
    """Sums over the tiles of each label, `[B, T, ...]` to `[B, L, ...]`; label L is dropped."""
    assert regions.tiles is not None
    add_up = partial(jax.ops.segment_sum, num_segments=regions.num_labels, indices_are_sorted=True)
    return jax.vmap(add_up)(values, regions.tiles.label)
