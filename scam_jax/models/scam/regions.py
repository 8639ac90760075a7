"""The regions of label maps, and their pixels sorted into tiles of one label."""

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
