"""Kernel distance between two sets of features (Bińkowski et al. 2018), in float64.

Its estimate is unbiased, so that it is comparable for any numbers of images, unlike the Fréchet
distance. Of noise it may be negative.
"""

import numpy as np


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Computes the unbiased squared MMD with the kernel (x·y/D + 1)³.

    torch-fidelity averages it over random subsets. This takes all features at once.

    Args:
      a: features `[N, D]`.
      b: features `[M, D]`.

    Raises:
      ValueError: a set has fewer than two features.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"KID needs two images or more of each kind, not {len(a)} and {len(b)}")
    a, b = a.astype(np.float64), b.astype(np.float64)
    return _within(a) + _within(b) - 2 * float(_kernel(a, b).mean())


def _within(a: np.ndarray) -> float:
    """Returns the mean kernel of all pairs of two different features."""
    kernel, count = _kernel(a, a), len(a)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3
