"""Fréchet distance between two sets of features (Heusel et al. 2017), in float64."""

import dataclasses
import functools
import pathlib
import zipfile

import numpy as np

from scam_jax.files import replaced

# Rows summed at a time. The number is fixed, so that a sum does not depend on the batch size.
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a set of features.

    Attributes:
      mean: `[D]`.
      covariance: `[D, D]`, normalized by count − 1.
      count: number of features.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @functools.cached_property
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    @property
    def is_singular(self) -> bool:
        """Whether there are too few features for a covariance of full rank."""
        return self.count <= len(self.mean)

    def flat(self) -> np.ndarray:
        """Returns all values in one array, float64 `[D + D² + 1]`."""
        return np.concatenate([self.mean, self.covariance.ravel(), [self.count]])

    @classmethod
    def of_flat(cls, numbers: np.ndarray, width: int) -> "Statistics":
        """Restores statistics from the array that `flat` returns.

        Args:
          numbers: the array, `[D + D² + 1]`.
          width: D.
        """
        covariance = numbers[width:-1].reshape(width, width)
        return cls(numbers[:width], covariance, int(numbers[-1]))

    def save(self, file: pathlib.Path) -> None:
        """Writes an .npz file."""
        with replaced(file) as stream:
            np.savez(stream, mean=self.mean, covariance=self.covariance, count=self.count)

    @classmethod
    def load(cls, file: pathlib.Path) -> "Statistics":
        """Reads a file that `save` wrote.

        Raises:
          ValueError: the file is damaged or `save` did not write it.
        """
        try:
            with np.load(file) as arrays:
                kept = cls(arrays["mean"], arrays["covariance"], int(arrays["count"]))
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{file} cannot be read ({error}): remove it, and it will be computed again"
            ) from error
        return kept


def statistics(features: np.ndarray) -> Statistics:
    """Computes the statistics of features `[N, D]`.

    Raises:
      ValueError: there are fewer than two features.
    """
    count, width = features.shape
    if count < 2:
        raise ValueError(f"a covariance needs two images or more, not {count}")
    chunks = [features[i : i + _CHUNK].astype(np.float64) for i in range(0, count, _CHUNK)]
    mean = sum(chunk.sum(0) for chunk in chunks) / count
    products = np.zeros((width, width))
    for chunk in chunks:
        centred = chunk - mean
        products += centred.T @ centred
    return Statistics(mean, products / (count - 1), count)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Computes ‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½).

    Σ₁ Σ₂ has the same eigenvalues as the symmetric matrix √Σ₁ Σ₂ √Σ₁, whose eigenvalues have real
    square roots even if the covariances are singular.
    """
    product = a.root @ b.covariance @ a.root
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0))
    difference = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(difference @ difference + traces - 2 * roots.sum())
