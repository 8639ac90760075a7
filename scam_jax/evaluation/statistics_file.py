"""Statistics of real images in a file: computed once, for all runs, on any number of hosts."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from scam_jax.evaluation import fid


def statistics_in(file: pathlib.Path, features: Callable[[], np.ndarray]) -> fid.Statistics:
    """The statistics in `file`, put there if there are none; every host calls it.

    Only the first host reads and writes: the folder need not be shared.

    Args:
      file: an .npz, whose name tells what it is of.
      features: to `[N, D]` features, the same on all hosts; a collective.

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
    """What the first host has, on all: its folder need not be the others'."""
    width = multihost_utils.broadcast_one_to_all(np.int32(len(kept.mean) if kept else 0))
    if not width:
        return None
    numbers = kept.flat() if kept else np.zeros(width * (width + 1) + 1)
    # float64 does not cross: JAX would make it float32
    numbers = multihost_utils.broadcast_one_to_all(numbers.view(np.uint32))
    return fid.Statistics.of_flat(np.asarray(numbers).view(np.float64), int(width))
