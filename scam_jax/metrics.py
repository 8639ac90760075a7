"""Metrics over a data set, as clu metrics: gathered batch by batch, merged, then computed."""

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics


@flax.struct.dataclass
class PSNR(metrics.Metric):
    """Peak signal-to-noise ratio in dB: one mean squared error over all pixels of the data set.

    The peak is max − min of the targets (the authors' protocol), about 2 for images in [-1, 1].
    """

    squared_error: jax.Array
    count: jax.Array
    minimum: jax.Array
    maximum: jax.Array

    @classmethod
    def empty(cls) -> "PSNR":
        zero = jnp.zeros((), jnp.float32)
        return cls(zero, zero, jnp.float32(jnp.inf), jnp.float32(-jnp.inf))

    @classmethod
    def from_images(cls, image: jax.Array, target: jax.Array, weight: jax.Array) -> "PSNR":
        """Images `[B, H, W, 3]`; weight `[B, H, W]` is 1 for pixels that count and 0 for others."""
        weight = weight[..., None]
        return cls(
            squared_error=jnp.sum(weight * jnp.square(image - target)),
            count=jnp.sum(weight) * target.shape[-1],
            minimum=jnp.min(jnp.where(weight > 0, target, jnp.inf)),
            maximum=jnp.max(jnp.where(weight > 0, target, -jnp.inf)),
        )

    def merge(self, other: "PSNR") -> "PSNR":
        return PSNR(
            self.squared_error + other.squared_error,
            self.count + other.count,
            jnp.minimum(self.minimum, other.minimum),
            jnp.maximum(self.maximum, other.maximum),
        )

    def compute(self) -> jax.Array:
        peak = self.maximum - self.minimum
        return 10 * jnp.log10(jnp.square(peak) * self.count / self.squared_error)


@flax.struct.dataclass
class L1(metrics.Metric):
    """Mean absolute difference over all pixels of the data set, of images in [-1, 1]."""

    total: jax.Array
    count: jax.Array

    @classmethod
    def empty(cls) -> "L1":
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    @classmethod
    def from_images(cls, image: jax.Array, target: jax.Array, weight: jax.Array) -> "L1":
        """As `PSNR.from_images`."""
        weight = weight[..., None]
        return cls(jnp.sum(weight * jnp.abs(image - target)), jnp.sum(weight) * target.shape[-1])

    def merge(self, other: "L1") -> "L1":
        return L1(self.total + other.total, self.count + other.count)

    def compute(self) -> jax.Array:
        return self.total / self.count
