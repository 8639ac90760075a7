"""Assertions that two arrays, or two trees of arrays, are close."""

import jax
import numpy as np


def assert_close(ours, theirs, atol: float = 0.0, of_largest: float = 0.0) -> None:
    """Differences within `atol` + `of_largest` times the largest entry, where theirs was kept."""
    ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert not np.isnan(ours).any(), "not a number"
    kept = ~np.isnan(theirs)
    assert kept.any()
    limit = atol + of_largest * np.abs(theirs[kept]).max()
    np.testing.assert_allclose(ours[kept], theirs[kept], rtol=0, atol=limit)


def assert_trees_close(ours, theirs, atol: float = 0.0, of_largest: float = 0.0) -> None:
    """`assert_close` of every leaf, naming the leaf."""

    def check(path, a, b):
        try:
            assert_close(a, b, atol, of_largest)
        except AssertionError as error:
            raise AssertionError(f"{jax.tree_util.keystr(path)}: {error}") from None

    jax.tree_util.tree_map_with_path(check, ours, theirs)
