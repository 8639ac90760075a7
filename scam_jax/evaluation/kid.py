"""Kernel distance between two sets of features (Bińkowski et al. 2018), in float64.

Its estimate is unbiased, so that it is comparable for any numbers of images, unlike the Fréchet
distance. Of noise it may be negative.
"""

import numpy as np

_MOST_PAIRS = 2**24  # 128 MB


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
    return _within(a) + _within(b) - 2 * _sum(a, b) / (len(a) * len(b))


def _within(a: np.ndarray) -> float:
    """Returns the mean kernel of all pairs of two different features."""
    count, with_itself = len(a), float(_kernel(np.square(a).sum(1), a.shape[1]).sum())
    return (_sum(a, a) - with_itself) / (count * (count - 1))


def _sum(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the sum of the kernel over all pairs, with a bounded matrix at a time."""
    rows = max(1, _MOST_PAIRS // len(b))
    starts = range(0, len(a), rows)
    return sum(float(_kernel(a[i : i + rows] @ b.T, a.shape[1]).sum()) for i in starts)


def _kernel(products: np.ndarray, size: int) -> np.ndarray:
    return (products / size + 1) ** 3
