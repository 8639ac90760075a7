"""Fréchet distance between two sets of features (Heusel et al. 2017), in float64."""

import dataclasses
import functools
import pathlib
import zipfile

import numpy as np

from scam_jax.files import replaced

# So many features are kept, evenly spaced over the data set. KID compares with them.
MOST_KEPT = 1000
# Rows summed at a time. The number is fixed, so that a sum does not depend on the batch size.
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a set of features.

    Attributes:
      mean: `[D]`.
      covariance: `[D, D]`, normalized by count − 1.
      count: number of features.
      kept: some of the features, float32 `[M, D]`.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int
    kept: np.ndarray

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
        """Returns all values in one array, float64 `[D + D² + 1 + M·D]`."""
        return np.concatenate([self.mean, self.covariance.ravel(), [self.count], self.kept.ravel()])

    @classmethod
    def of_flat(cls, numbers: np.ndarray, width: int) -> "Statistics":
        """Restores statistics from the array that `flat` returns.

        Args:
          numbers: the array, `[D + D² + 1 + M·D]`.
          width: D.
        """
        mean, covariance, count, kept = np.split(numbers, np.cumsum([width, width**2, 1]))
        covariance, kept = covariance.reshape(width, width), kept.reshape(-1, width)
        return cls(mean, covariance, int(count[0]), kept.astype(np.float32))

    def save(self, file: pathlib.Path) -> None:
        """Writes an .npz file."""
        with replaced(file) as stream:
            np.savez(stream, **dataclasses.asdict(self))

    @classmethod
    def load(cls, file: pathlib.Path) -> "Statistics":
        """Reads a file that `save` wrote.

        Raises:
          ValueError: the file is damaged or `save` did not write it.
        """
        try:
            with np.load(file) as arrays:
                fields = {field.name: arrays[field.name] for field in dataclasses.fields(cls)}
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{file} cannot be read ({error}): remove it, and it will be computed again"
            ) from error
        return cls(**{**fields, "count": int(fields["count"])})


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
    kept = np.linspace(0, count - 1, min(count, MOST_KEPT)).round().astype(int)
    return Statistics(mean, products / (count - 1), count, features[kept].astype(np.float32))


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
