"""Products between pixels and the latents of their own label.

A pixel only ever meets the K latents of its own label, 1 in L of all. With x `[B, P, C]` of the
pixels, w `[B, P, K]` of pixels and their latents, t `[B, L, K, C]` of the latents, everything that
attention needs is one trilinear form, Σ w[p, k] x[p, c] t[label(p), k, c], left open in w, x or t:
`scores`, `mix` and `collect`. Each is the others' derivative, and they differ only in how they are
computed. Accelerators multiply densely and pick by the label, for they gather rows slowly. CPUs
sort the pixels into tiles of one label and never multiply by another label's latents.
"""

import dataclasses
import functools
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

TILE = 64


@flax.struct.dataclass
class Tiles:
    """Pixels sorted by label and laid out in tiles of one label each, the last of each partly full.

    Attributes:
      label: of each tile, `[B, T]`.
      pixel: in each place, `[B, T, TILE]`; any pixel in a place that is empty.
      full: whether a place holds a pixel, `[B, T, TILE]`.
      place: of each pixel, its index among the T · TILE, `[B, P]`.
    """

    label: Array
    pixel: Array
    full: Array
    place: Array


@flax.struct.dataclass
class Regions:
    """Where each label's pixels are.

    Attributes:
      labels: `[B, P]`.
      tiles: the pixels by label, or None where P is too small to gain by them.
      num_labels: L.
      size: of the label maps, whose product is P.
    """

    labels: Array
    tiles: Tiles | None
    num_labels: int = flax.struct.field(pytree_node=False)
    size: tuple[int, ...] = flax.struct.field(pytree_node=False)


def find_regions(labels: Array, num_labels: int) -> Regions:
    """The regions of label maps `[B, ...]`, flattened."""
    size = labels.shape[1:]
    labels = labels.reshape(len(labels), -1).astype(jnp.int32)
    pixels = labels.shape[1]
    # moving a pixel to its tile and back costs about as much as multiplying it by four labels'
    gain = pixels * num_labels > 4 * (pixels + TILE * num_labels)
    tiles = jax.vmap(partial(_tile, num_labels))(labels) if gain else None
    return Regions(labels, tiles, num_labels, size)


def _tile(num_labels: int, labels: Array) -> Tiles:
    pixels = labels.shape[0]
    if pixels >= 2**24:
        raise ValueError(f"{pixels} pixels are too many: an image may have {2**24 - 1}")
    # label and pixel in one number: sorting pairs takes several times as long
    numbers = (labels.astype(jnp.uint32) << 24) | jnp.arange(pixels, dtype=jnp.uint32)
    ordered = jnp.sort(numbers)
    pixel_of_rank = (ordered & 0xFFFFFF).astype(jnp.int32)
    label_of_rank = (ordered >> 24).astype(jnp.int32)
    count = jnp.sum(labels[:, None] == jnp.arange(num_labels), axis=0)
    first_rank = jnp.cumsum(count) - count
    tiles = (count + TILE - 1) // TILE
    last_tile = jnp.cumsum(tiles)
    first_tile = last_tile - tiles
    tile = jnp.arange(pixels // TILE + num_labels)
    label = jnp.minimum(jnp.sum(tile[:, None] >= last_tile, axis=1), num_labels - 1)
    within = (tile - first_tile[label])[:, None] * TILE + jnp.arange(TILE)
    rank = jnp.clip(first_rank[label][:, None] + within, 0, pixels - 1)
    place_of_rank = first_tile[label_of_rank] * TILE + (
        jnp.arange(pixels) - first_rank[label_of_rank]
    )
    return Tiles(
        label=label,
        pixel=pixel_of_rank[rank],
        full=within < count[label][:, None],
        place=jnp.zeros(pixels, jnp.int32)
        .at[pixel_of_rank]
        .set(place_of_rank, unique_indices=True),
    )


@jax.custom_vjp
def scores(regions: Regions, x: Array, table: Array) -> Array:
    """Σ over c, of x `[B, P, C]` and table `[B, L, K, C]`: `[B, P, K]` in fp32."""
    return _computed(regions, _tiled_scores, _dense_scores, x, table)


@jax.custom_vjp
def mix(regions: Regions, weights: Array, table: Array) -> Array:
    """Σ over k, of weights `[B, P, K]` and table `[B, L, K, C]`: `[B, P, C]` of table's type."""
    return _computed(regions, _tiled_mix, _dense_mix, weights, table)


@jax.custom_vjp
def collect(regions: Regions, weights: Array, x: Array) -> Array:
    """Σ over p, of weights `[B, P, K]` and x `[B, P, C]`: `[B, L, K, C]` in fp32."""
    return _computed(regions, _tiled_collect, _dense_collect, weights, x)


def spread(regions: Regions, values: Array) -> Array:
    """Each pixel's label's values: `[B, L, K]` to `[B, P, K]` in fp32."""
    ones = jnp.ones((*regions.labels.shape, 1), values.dtype)
    return scores(regions, ones, values[..., None])


def total(regions: Regions, values: Array) -> Array:
    """Sums over each label's pixels: `[B, P, K]` to `[B, L, K]` in fp32."""
    ones = jnp.ones((*regions.labels.shape, 1), values.dtype)
    return collect(regions, values, ones)[..., 0]


def highest(regions: Regions, values: Array) -> Array:
    """Maxima over each label's pixels, −∞ without any: `[B, P, K]` to `[B, L, K]`. No gradient."""
    return _computed(regions, _tiled_highest, _dense_highest, jax.lax.stop_gradient(values))


def _keep(f):
    return lambda regions, a, b: (f(regions, a, b), (regions, a, b))


def _scores_backward(kept, g):
    regions, x, table = kept
    to_table = collect(regions, g, x).astype(table.dtype)
    return None, mix(regions, g, table).astype(x.dtype), to_table


def _mix_backward(kept, g):
    regions, weights, table = kept
    to_table = collect(regions, weights, g).astype(table.dtype)
    return None, scores(regions, g, table).astype(weights.dtype), to_table


def _collect_backward(kept, g):
    regions, weights, x = kept
    g = g.astype(x.dtype)
    return None, scores(regions, x, g).astype(weights.dtype), mix(regions, weights, g)


scores.defvjp(_keep(scores), _scores_backward)
mix.defvjp(_keep(mix), _mix_backward)
collect.defvjp(_keep(collect), _collect_backward)


def _computed(regions: Regions, tiled, dense, *operands: Array) -> Array:
    if regions.tiles is None:
        return dense(regions, *operands)
    return jax.lax.platform_dependent(regions, *operands, cpu=tiled, default=dense)


# Densely: by all latents, then the label's own are picked.


def _own(regions: Regions) -> Array:
    """`[B, P, L, 1]`: whether a pixel has the label."""
    return (regions.labels[..., None] == jnp.arange(regions.num_labels))[..., None]


def _dense_scores(regions: Regions, x: Array, table: Array) -> Array:
    labels, slots = table.shape[1:3]
    flat = table.reshape(len(table), labels * slots, -1)
    everything = jnp.einsum("bpc,bnc->bpn", x, flat)
    everything = everything.reshape(*everything.shape[:2], labels, slots)
    return jnp.where(_own(regions), everything.astype(jnp.float32), 0).sum(2)


def _among_all(regions: Regions, weights: Array, dtype: jnp.dtype) -> Array:
    """Weights over all latents `[B, P, L·K]`, 0 for other labels'."""
    everywhere = jnp.where(_own(regions), weights[:, :, None], 0).astype(dtype)
    return everywhere.reshape(*everywhere.shape[:2], -1)


def _dense_mix(regions: Regions, weights: Array, table: Array) -> Array:
    flat = table.reshape(len(table), -1, table.shape[-1])
    return jnp.einsum("bpn,bnc->bpc", _among_all(regions, weights, table.dtype), flat)


def _dense_collect(regions: Regions, weights: Array, x: Array) -> Array:
    everywhere = _among_all(regions, weights, x.dtype)
    out = jnp.einsum("bpn,bpc->bnc", everywhere, x, preferred_element_type=jnp.float32)
    return out.reshape(len(x), regions.num_labels, -1, x.shape[-1])


def _dense_highest(regions: Regions, values: Array) -> Array:
    return jnp.where(_own(regions), values[:, :, None], -jnp.inf).max(axis=1)


# In tiles: one small product a tile.


def _to_tiles(tiles: Tiles, x: Array) -> Array:
    """`[B, P, C]` to `[B, T, TILE, C]`, an arbitrary pixel's where a place is empty."""
    return jax.vmap(lambda x, pixel: x[pixel])(x, tiles.pixel)


def _from_tiles(tiles: Tiles, y: Array) -> Array:
    """`[B, T, TILE, C]` to `[B, P, C]`."""
    flat = y.reshape(len(y), -1, y.shape[-1])
    return jax.vmap(lambda y, place: y[place])(flat, tiles.place)


def _of_tiles(tiles: Tiles, table: Array) -> Array:
    """Each tile's label's part of `[B, L, ...]`: `[B, T, ...]`."""
    return jax.vmap(lambda table, label: table[label])(table, tiles.label)


def _tiled_scores(regions: Regions, x: Array, table: Array) -> Array:
    tiles = regions.tiles
    out = jnp.einsum("btpc,btkc->btpk", _to_tiles(tiles, x), _of_tiles(tiles, table))
    return _from_tiles(tiles, out.astype(jnp.float32))


def _tiled_mix(regions: Regions, weights: Array, table: Array) -> Array:
    tiles = regions.tiles
    weights = _to_tiles(tiles, weights).astype(table.dtype)
    return _from_tiles(tiles, jnp.einsum("btpk,btkc->btpc", weights, _of_tiles(tiles, table)))


def _tiled_collect(regions: Regions, weights: Array, x: Array) -> Array:
    tiles = regions.tiles
    weights = jnp.where(tiles.full[..., None], _to_tiles(tiles, weights), 0).astype(x.dtype)
    sums = jnp.einsum(
        "btpk,btpc->btkc", weights, _to_tiles(tiles, x), preferred_element_type=jnp.float32
    )
    add_up = partial(jax.ops.segment_sum, num_segments=regions.num_labels, indices_are_sorted=True)
    return jax.vmap(add_up)(sums, tiles.label)


def _tiled_highest(regions: Regions, values: Array) -> Array:
    tiles = regions.tiles
    tops = jnp.where(tiles.full[..., None], _to_tiles(tiles, values), -jnp.inf).max(axis=2)
    top_of = partial(jax.ops.segment_max, num_segments=regions.num_labels, indices_are_sorted=True)
    return jax.vmap(top_of)(tops, tiles.label)


@dataclasses.dataclass(frozen=True)
class LatentLayout:
    """Which latents are whose: the background's first, then each label's in turn."""

    num_labels: int
    latents_per_label: int
    background_latents: int

    @functools.cached_property
    def owners(self) -> np.ndarray:
        """Label of each latent, `[N]`."""
        counts = [self.background_latents] + [self.latents_per_label] * (self.num_labels - 1)
        return np.repeat(np.arange(self.num_labels), counts)

    @functools.cached_property
    def filled(self) -> np.ndarray:
        """Whether a label's slot holds a latent, `[L, K]`: K is the most that a label has."""
        counts = np.bincount(self.owners)
        return np.arange(counts.max()) < counts[:, None]

    def to_slots(self, latents: Array) -> Array:
        """`[B, N, ...]` to `[B, L, K, ...]`, any latent in a slot that holds none."""
        if self.filled.all():
            return latents.reshape(len(latents), *self.filled.shape, *latents.shape[2:])
        latent = np.cumsum(self.filled).reshape(self.filled.shape) - 1
        return latents[:, latent]

    def from_slots(self, slots: Array) -> Array:
        """`[B, L, K, ...]` to `[B, N, ...]`."""
        flat = slots.reshape(len(slots), -1, *slots.shape[3:])
        return flat if self.filled.all() else flat[:, np.flatnonzero(self.filled)]
