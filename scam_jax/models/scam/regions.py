"""Products between pixels and the latents of their own label.

Each pixel interacts only with the K latents of its own label, out of L·K in all. Attention needs a
single trilinear form of the pixels x `[B, P, C]`, weights w `[B, P, K]` between each pixel and the
latents of its label, and a table t `[B, L, K, C]` of the latents:

  Σ w[p, k] · x[p, c] · t[label(p), k, c]

`scores` is this form without w, `mix` without x, and `collect` without t. The derivatives of each
are the other two.

There are two algorithms. Accelerators gather rows slowly, so they multiply each pixel by the
latents of all labels and select those of its own. CPUs sort the pixels into tiles of one label, so
they never multiply by another label's latents.
"""

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp

Array = jax.Array

TILE = 64


@flax.struct.dataclass
class Tiles:
    """Pixels sorted by label into tiles of TILE places, with one label per tile.

    The last tile of a label may have empty places.

    Attributes:
      label: label of each tile, `[B, T]`.
      pixel: index of the pixel in each place, `[B, T, TILE]`; any pixel where a place is empty.
      full: whether each place holds a pixel, bool `[B, T, TILE]`.
      place: index of each pixel's place among all T·TILE places, `[B, P]`.
    """

    label: Array
    pixel: Array
    full: Array
    place: Array


@flax.struct.dataclass
class Regions:
    """The regions of a batch of label maps.

    Attributes:
      labels: label of each pixel, `[B, P]`.
      tiles: the pixels sorted into tiles, or None if P is too small to gain from tiles.
      num_labels: number of labels L.
      size: shape of a label map before it was flattened to P pixels.
      ignores: whether pixels may have the label L, which is no region. They are as if the latents
        of their label were 0.
    """

    labels: Array
    tiles: Tiles | None
    num_labels: int = flax.struct.field(pytree_node=False)
    size: tuple[int, ...] = flax.struct.field(pytree_node=False)
    ignores: bool = flax.struct.field(pytree_node=False, default=False)


def find_regions(labels: Array, num_labels: int, ignores: bool = False) -> Regions:
    """Finds the regions of label maps.

    Args:
      labels: label maps `[B, ...]`.
      num_labels: number of labels L.
      ignores: whether pixels may have the label L, which is no region.

    Returns:
      The regions of the flattened label maps.
    """
    size = labels.shape[1:]
    labels = labels.reshape(labels.shape[0], -1).astype(jnp.int32)
    pixels = labels.shape[1]
    # moving a pixel to a tile and back costs about as much as products with the latents of 4 labels
    gain = pixels * num_labels > 4 * (pixels + TILE * num_labels)
    tiles = jax.vmap(partial(_tile, num_labels + ignores))(labels) if gain else None
    return Regions(labels, tiles, num_labels, size, ignores)


def _tile(num_labels: int, labels: Array) -> Tiles:
    """Sorts the pixels of one label map `[P]` into tiles."""
    pixels = labels.shape[0]
    if pixels >= 2**24:
        raise ValueError(f"an image of {pixels} pixels is too large: use at most {2**24 - 1}")
    # label and pixel share one number, because sorting pairs is several times slower
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
    """Multiplies each pixel by the latents of its label, summed over c.

    Args:
      regions: regions of the P pixels.
      x: pixels `[B, P, C]`.
      table: latents `[B, L, K, C]`.

    Returns:
      `[B, P, K]`, float32.
    """
    return _dispatch(regions, _tiled_scores, _dense_scores, x, table)


@jax.custom_vjp
def mix(regions: Regions, weights: Array, table: Array) -> Array:
    """Sums the latents of each pixel's label with weights, over k.

    Args:
      regions: regions of the P pixels.
      weights: `[B, P, K]`.
      table: latents `[B, L, K, C]`.

    Returns:
      `[B, P, C]` of the table's type.
    """
    return _dispatch(regions, _tiled_mix, _dense_mix, weights, table)


@jax.custom_vjp
def collect(regions: Regions, weights: Array, x: Array) -> Array:
    """Sums the pixels of each label with weights, over p.

    Args:
      regions: regions of the P pixels.
      weights: `[B, P, K]`.
      x: pixels `[B, P, C]`.

    Returns:
      `[B, L, K, C]`, float32.
    """
    return _dispatch(regions, _tiled_collect, _dense_collect, weights, x)


def spread(regions: Regions, values: Array) -> Array:
    """Copies the values of each label to its pixels: `[B, L, K]` to `[B, P, K]`, float32."""
    ones = jnp.ones((*regions.labels.shape, 1), values.dtype)
    return scores(regions, ones, values[..., None])


def total(regions: Regions, values: Array) -> Array:
    """Sums values over the pixels of each label: `[B, P, K]` to `[B, L, K]`, float32."""
    ones = jnp.ones((*regions.labels.shape, 1), values.dtype)
    return collect(regions, values, ones)[..., 0]


def highest(regions: Regions, values: Array) -> Array:
    """Returns the maximum over the pixels of each label, without gradient.

    Args:
      regions: regions of the P pixels.
      values: `[B, P, K]`.

    Returns:
      `[B, L, K]`, −∞ for a label without pixels.
    """
    return _dispatch(regions, _tiled_highest, _dense_highest, jax.lax.stop_gradient(values))


def _keep_operands(f):
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


scores.defvjp(_keep_operands(scores), _scores_backward)
mix.defvjp(_keep_operands(mix), _mix_backward)
collect.defvjp(_keep_operands(collect), _collect_backward)


def _dispatch(regions: Regions, tiled, dense, *operands: Array) -> Array:
    """Calls `tiled` on CPUs if there are tiles, and `dense` otherwise."""
    if regions.tiles is None:
        return dense(regions, *operands)
    return jax.lax.platform_dependent(regions, *operands, cpu=tiled, default=dense)


# The dense algorithm: products with the latents of all labels, of which each pixel selects its own.


def _label_mask(regions: Regions) -> Array:
    """Returns whether each pixel has each label, bool `[B, P, L, 1]`."""
    return (regions.labels[..., None] == jnp.arange(regions.num_labels))[..., None]


def _dense_scores(regions: Regions, x: Array, table: Array) -> Array:
    labels, slots = table.shape[1:3]
    flat = table.reshape(table.shape[0], labels * slots, -1)
    everything = jnp.einsum("bpc,bnc->bpn", x, flat)
    everything = everything.reshape(*everything.shape[:2], labels, slots)
    return jnp.where(_label_mask(regions), everything.astype(jnp.float32), 0).sum(2)


def _over_all_latents(regions: Regions, weights: Array, dtype: jnp.dtype) -> Array:
    """Returns weights over the latents of all labels, `[B, P, L·K]`, 0 for other labels."""
    everywhere = jnp.where(_label_mask(regions), weights[:, :, None], 0).astype(dtype)
    return everywhere.reshape(*everywhere.shape[:2], -1)


def _dense_mix(regions: Regions, weights: Array, table: Array) -> Array:
    flat = table.reshape(table.shape[0], -1, table.shape[-1])
    return jnp.einsum("bpn,bnc->bpc", _over_all_latents(regions, weights, table.dtype), flat)


def _dense_collect(regions: Regions, weights: Array, x: Array) -> Array:
    everywhere = _over_all_latents(regions, weights, x.dtype)
    out = jnp.einsum("bpn,bpc->bnc", everywhere, x, preferred_element_type=jnp.float32)
    return out.reshape(x.shape[0], regions.num_labels, -1, x.shape[-1])


def _dense_highest(regions: Regions, values: Array) -> Array:
    return jnp.where(_label_mask(regions), values[:, :, None], -jnp.inf).max(axis=1)


# The tiled algorithm: one small product per tile.


def _to_tiles(tiles: Tiles, x: Array) -> Array:
    """Moves pixels to tiles: `[B, P, C]` to `[B, T, TILE, C]`, any pixel in an empty place."""
    return jax.vmap(lambda x, pixel: x[pixel])(x, tiles.pixel)


def _from_tiles(tiles: Tiles, y: Array) -> Array:
    """Moves pixels back from tiles: `[B, T, TILE, C]` to `[B, P, C]`."""
    flat = y.reshape(y.shape[0], -1, y.shape[-1])
    return jax.vmap(lambda y, place: y[place])(flat, tiles.place)


def _tile_latents(regions: Regions, table: Array) -> Array:
    """Looks up the latents of each tile's label: `[B, L, ...]` to `[B, T, ...]`."""
    assert regions.tiles is not None
    if regions.ignores:
        table = jnp.pad(table, ((0, 0), (0, 1), *[(0, 0)] * (table.ndim - 2)))
    return jax.vmap(lambda table, label: table[label])(table, regions.tiles.label)


def _tiled_scores(regions: Regions, x: Array, table: Array) -> Array:
    tiles = regions.tiles
    assert tiles is not None
    out = jnp.einsum("btpc,btkc->btpk", _to_tiles(tiles, x), _tile_latents(regions, table))
    return _from_tiles(tiles, out.astype(jnp.float32))


def _tiled_mix(regions: Regions, weights: Array, table: Array) -> Array:
    tiles = regions.tiles
    assert tiles is not None
    weights = _to_tiles(tiles, weights).astype(table.dtype)
    return _from_tiles(tiles, jnp.einsum("btpk,btkc->btpc", weights, _tile_latents(regions, table)))


def _tiled_collect(regions: Regions, weights: Array, x: Array) -> Array:
    tiles = regions.tiles
    assert tiles is not None
    weights = jnp.where(tiles.full[..., None], _to_tiles(tiles, weights), 0).astype(x.dtype)
    # The sums of label L, if there is one, are dropped.
    sums = jnp.einsum(
        "btpk,btpc->btkc", weights, _to_tiles(tiles, x), preferred_element_type=jnp.float32
    )
    add_up = partial(jax.ops.segment_sum, num_segments=regions.num_labels, indices_are_sorted=True)
    return jax.vmap(add_up)(sums, tiles.label)


def _tiled_highest(regions: Regions, values: Array) -> Array:
    tiles = regions.tiles
    assert tiles is not None
    tops = jnp.where(tiles.full[..., None], _to_tiles(tiles, values), -jnp.inf).max(axis=2)
    top_of = partial(jax.ops.segment_max, num_segments=regions.num_labels, indices_are_sorted=True)
    return jax.vmap(top_of)(tops, tiles.label)
