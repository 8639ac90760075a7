"""Statistics of real images in a file, computed once for all runs, on any number of hosts."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from scam_jax.evaluation import fid


def statistics_in(file: pathlib.Path, features: Callable[[], np.ndarray]) -> fid.Statistics:
    """Reads statistics from a file, or computes and writes them. Every host must call this.

    Only the first host reads and writes, so the hosts need not share the folder.

    Args:
      file: an .npz file whose name identifies the images.
      features: returns features `[N, D]`, the same on all hosts. If one host calls it, all do.

    Raises:
      ValueError: the file is damaged, or there are fewer than two features.
    """
    is_first = jax.process_index() == 0
    kept = _of_first_host(fid.Statistics.load(file) if is_first and file.is_file() else None)
    if kept is not None:
        return kept
    found = fid.statistics(features())
    if is_first:
        found.save(file)
    return found


def _of_first_host(kept: fid.Statistics | None) -> fid.Statistics | None:
    """Sends the first host's statistics, or None, to all hosts."""
    width = multihost_utils.broadcast_one_to_all(np.int32(len(kept.mean) if kept else 0))
    if not width:
        return None
    size = multihost_utils.broadcast_one_to_all(np.int32(kept.flat().size if kept else 0))
    numbers = kept.flat() if kept else np.zeros(size)
    # Sent as uint32, because JAX would convert float64 to float32.
    numbers = multihost_utils.broadcast_one_to_all(numbers.view(np.uint32))
    return fid.Statistics.of_flat(np.asarray(numbers).view(np.float64), int(width))
