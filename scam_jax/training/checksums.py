"""Checksums of the arrays of a tree, by which a damaged checkpoint is known."""

import concurrent.futures
import zlib
from typing import Any

import jax
import numpy as np


def checksums(tree: Any) -> dict[str, int]:
    """Returns the CRC-32 of every array of a tree, by the path of the array.

    Args:
      tree: a tree of arrays that every device holds in full. Other leaves are left out.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): x for path, x in leaves if isinstance(x, jax.Array)}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(arrays, pool.map(_crc32, arrays.values()), strict=True))


def _crc32(array: jax.Array) -> int:
    values = np.ascontiguousarray(array.addressable_data(0))
    return zlib.crc32(values.reshape(-1).view(np.uint8).data)
