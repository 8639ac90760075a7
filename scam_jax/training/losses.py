"""Losses: arrays in, fp32 scalars out. Images are `[B, H, W, 3]` in [-1, 1].

A discriminator's output is `[scale][layer]` feature maps `[B, h, w, C]`, the last the logits.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Maps = Sequence[Sequence[Array]]
# (image, one-hot labels, scale) to that scale's feature maps
Discriminate = Callable[[Array, Array, int], list[Array]]

PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def gradient_normalized(
    discriminate: Discriminate, image: Array, one_hot: Array, scale: int
) -> tuple[Array, list[Array]]:
    """Gradient-normalised logits f / (‖∇ₓ Σf‖₂ + |f|) of one scale (Wu et al. 2021).

    Args:
      discriminate: (image, one-hot labels, scale) to that scale's feature maps.
      image: `[B, H, W, 3]`.
      one_hot: `[B, H, W, L]`; x is both, the norm is a sample's.

    Returns:
      normalised logits `[B, h, w, 1]` and the feature maps, logits as they were.
    """

    def logits_and_maps(image, one_hot):
        maps = discriminate(image, one_hot, scale)
        return maps[-1], maps

    logits, pull, maps = jax.vjp(logits_and_maps, image, one_hot, has_aux=True)
    squares = sum(
        jnp.square(g.astype(jnp.float32)).sum((1, 2, 3)) for g in pull(jnp.ones_like(logits))
    )
    # the bound keeps the derivative of the root finite where the gradient vanishes
    norm = jnp.sqrt(jnp.maximum(squares, 1e-30))[:, None, None, None]
    return logits / (norm + jnp.abs(logits)), maps


def _over_scales(loss: Callable[..., Array], *logits: Sequence[Array]) -> Array:
    return sum(loss(*scale) for scale in zip(*logits, strict=True)) / len(logits[0])


class Pixels(NamedTuple):
    """What a GAN loss of each pixel's label is told.

    Attributes:
      one_hot: `[B, H, W, L]`.
      weight: of each pixel, `[B, H, W]`, see `balanced`.
    """

    one_hot: Array
    weight: Array


def balanced(one_hot: Array, axis: str | None = None) -> Pixels:
    """Pixels weighted by the rarity of their label in the batch, on all devices of `axis`.

    A pixel counts by the reciprocal of how many have its label; the reciprocals of the n labels
    that occur are scaled to n in sum (Schönfeld et al. 2021, section 3.1).
    """
    count = one_hot.sum((0, 1, 2))
    count = count if axis is None else jax.lax.psum(count, axis)
    rarity = jnp.where(count > 0, 1 / jnp.maximum(count, 1), 0)
    rarity *= (count > 0).sum() / rarity.sum()
    return Pixels(one_hot, (one_hot * rarity).sum(-1))


def hinge_generator(fake: Sequence[Array], pixels: Pixels | None = None) -> Array:
    """−mean f(fake), averaged over scales."""
    return _over_scales(lambda f: -f.mean(), fake)


def hinge_real(real: Sequence[Array], pixels: Pixels | None = None) -> Array:
    return _over_scales(lambda f: jax.nn.relu(1 - f).mean(), real)


def hinge_fake(fake: Sequence[Array], pixels: Pixels | None = None) -> Array:
    return _over_scales(lambda f: jax.nn.relu(1 + f).mean(), fake)


def non_saturating_real(real: Sequence[Array], pixels: Pixels | None = None) -> Array:
    """mean softplus(−f): also the generator's, of the fake."""
    return _over_scales(lambda f: jax.nn.softplus(-f).mean(), real)


def non_saturating_fake(fake: Sequence[Array], pixels: Pixels | None = None) -> Array:
    return _over_scales(lambda f: jax.nn.softplus(f).mean(), fake)


def oasis_real(logits: Sequence[Array], pixels: Pixels) -> Array:
    """Cross-entropy of each pixel's label, balanced: also the generator's, of the fake.

    Logits `[B, H, W, 1 + L]`; class 0 is 'generated'.
    """

    def loss(f):
        own = (jax.nn.log_softmax(f)[..., 1:] * pixels.one_hot).sum(-1)
        return -(own * pixels.weight).mean()

    return _over_scales(loss, logits)


def oasis_fake(logits: Sequence[Array], pixels: Pixels) -> Array:
    """Cross-entropy of 'generated' at each pixel."""
    return _over_scales(lambda f: -jax.nn.log_softmax(f)[..., 0].mean(), logits)


# By `config.losses.gan_kind`: the generator's loss of fake images, then the discriminator's losses
# of real and of fake images.
GAN_LOSSES = {
    "hinge": (hinge_generator, hinge_real, hinge_fake),
    "non_saturating": (non_saturating_real, non_saturating_real, non_saturating_fake),
    "oasis": (oasis_real, oasis_real, oasis_fake),
}


def l1(a: Array, b: Array) -> Array:
    """Mean absolute difference."""
    return jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean()


def perceptual(fake: Sequence[Array], real: Sequence[Array]) -> Array:
    """Weighted L1 between VGG19 activations after relu1_1 … relu5_1, the real ones stopped."""
    weighted = zip(PERCEPTUAL_WEIGHTS, fake, real, strict=True)
    return sum(w * l1(f, jax.lax.stop_gradient(r)) for w, f, r in weighted)


def feature_matching(fake: Maps, real: Maps) -> Array:
    """L1 over the inner maps, fake against stopped real: summed over layers, mean over scales."""
    return _over_scales(
        lambda f, r: sum(
            l1(a, jax.lax.stop_gradient(b)) for a, b in zip(f[:-1], r[:-1], strict=True)
        ),
        fake,
        real,
    )


def kl_divergence(gaussians: Sequence[tuple[Array, Array]]) -> Array:
    """KL of N(mean, e^log_variance) to the standard normal, summed over all elements.

    Of several (mean, log variance), the mean of their sums.
    """
    of_each = [-0.5 * jnp.sum(1 + log - jnp.square(mean) - jnp.exp(log)) for mean, log in gaussians]
    return sum(of_each) / len(of_each)


def r1(discriminate: Discriminate, image: Array, one_hot: Array, num_scales: int) -> Array:
    """½ ‖∇ image Σ logits‖², mean over samples and scales (Mescheder et al. 2018)."""

    def penalty(scale):
        gradient = jax.grad(lambda x: discriminate(x, one_hot, scale)[-1].sum())(image)
        return jnp.square(gradient.astype(jnp.float32)).sum((1, 2, 3)).mean() / 2

    return sum(penalty(scale) for scale in range(num_scales)) / num_scales
