"""Losses: functions of arrays that return float32 scalars.

Images are `[B, H, W, 3]` in [-1, 1]. A discriminator returns feature maps `[B, h, w, C]`, indexed
`[scale][layer]`; the last layer holds the logits. GAN losses take the logits as a list over scales
and return the mean over scales. Only the OASIS losses use `pixels`.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Maps = Sequence[Sequence[Array]]
# Maps (image, one-hot labels, scale) to the feature maps of that scale.
Discriminate = Callable[[Array, Array, int], list[Array]]

# Weights of the VGG19 layers relu1_1 … relu5_1.
PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def gradient_normalized(
    discriminate: Discriminate, image: Array, one_hot: Array, scale: int
) -> tuple[Array, list[Array]]:
    """Computes gradient-normalized logits f / (‖∇ₓ Σf‖₂ + |f|) of one scale (Wu et al. 2021).

    The input x is the image together with its labels. The norm is taken per example.

    Args:
      discriminate: maps (image, one-hot labels, scale) to the feature maps of that scale.
      image: `[B, H, W, 3]`.
      one_hot: `[B, H, W, L]`.
      scale: index of the scale.

    Returns:
      The normalized logits `[B, h, w, 1]`, and the feature maps with the logits unnormalized.
    """

    def logits_and_maps(image, one_hot):
        maps = discriminate(image, one_hot, scale)
        return maps[-1], maps

    logits, pull, maps = jax.vjp(logits_and_maps, image, one_hot, has_aux=True)
    squares = total(
        jnp.square(g.astype(jnp.float32)).sum((1, 2, 3)) for g in pull(jnp.ones_like(logits))
    )
    # The bound keeps the derivative of the square root finite where the gradient vanishes.
    norm = jnp.sqrt(jnp.maximum(squares, 1e-30))[:, None, None, None]
    return logits / (norm + jnp.abs(logits)), maps


def total(terms: Iterable[Array]) -> Array:
    """Returns the sum of one or more terms."""
    return functools.reduce(operator.add, terms)


def _over_scales(loss: Callable[..., Array], *outputs: Sequence[Any]) -> Array:
    return total(loss(*scale) for scale in zip(*outputs, strict=True)) / len(outputs[0])


class Pixels(NamedTuple):
    """The labels and weights of pixels, for a GAN loss that classifies each pixel.

    Attributes:
      one_hot: labels `[B, H, W, L]`.
      weight: weight of each pixel, `[B, H, W]`, see `balanced`.
      seen: bool `[B, H, W]`, whether a pixel has a label; None if all pixels have one.
    """

    one_hot: Array
    weight: Array
    seen: Array | None = None


def balanced(one_hot: Array, axis: str | None = None, seen: Array | None = None) -> Pixels:
    """Weights pixels by the rarity of their labels in the whole batch.

    A label's weight is proportional to the reciprocal of its number of pixels. The weights of the n
    labels that occur are scaled so that they sum to n (Schönfeld et al. 2021, section 3.1).

    Args:
      one_hot: labels `[B, H, W, L]`.
      axis: mesh axis that splits the batch, or None for a single device.
      seen: whether a pixel has a label, see `Pixels`.

    Returns:
      The labels and weights of this device's pixels.
    """
    count = one_hot.sum((0, 1, 2))
    count = count if axis is None else jax.lax.psum(count, axis)
    rarity = jnp.where(count > 0, 1 / jnp.maximum(count, 1), 0)
    occurring, sum_of_all = (count > 0).sum(), rarity.sum()
    if seen is not None:  # perhaps no pixel has a label
        sum_of_all = jnp.maximum(sum_of_all, 1e-30)
    rarity *= occurring / sum_of_all
    return Pixels(one_hot, (one_hot * rarity).sum(-1), seen)


def hinge_generator(fake: Sequence[Array], pixels: Pixels | None = None) -> Array:
    """The generator's hinge loss: −mean f(fake)."""
    return _over_scales(lambda f: -f.mean(), fake)


def hinge_real(real: Sequence[Array], pixels: Pixels | None = None) -> Array:
    """The discriminator's hinge loss of real images: mean max(0, 1 − f(real))."""
    return _over_scales(lambda f: jax.nn.relu(1 - f).mean(), real)


def hinge_fake(fake: Sequence[Array], pixels: Pixels | None = None) -> Array:
    """The discriminator's hinge loss of fake images: mean max(0, 1 + f(fake))."""
    return _over_scales(lambda f: jax.nn.relu(1 + f).mean(), fake)


def non_saturating_real(real: Sequence[Array], pixels: Pixels | None = None) -> Array:
    """mean softplus(−f): the discriminator's loss of real images, the generator's of fake ones."""
    return _over_scales(lambda f: jax.nn.softplus(-f).mean(), real)


def non_saturating_fake(fake: Sequence[Array], pixels: Pixels | None = None) -> Array:
    """The discriminator's loss of fake images: mean softplus(f)."""
    return _over_scales(lambda f: jax.nn.softplus(f).mean(), fake)


def oasis_real(logits: Sequence[Array], pixels: Pixels) -> Array:
    """The discriminator's loss of real images, and the generator's loss of fake images.

    This is the cross-entropy of each pixel's label, weighted by `pixels.weight`.

    Args:
      logits: `[B, H, W, 1 + L]` per scale; class 0 is 'generated'.
      pixels: the labels and weights of pixels.
    """

    def loss(f):
        own = (jax.nn.log_softmax(f)[..., 1:] * pixels.one_hot).sum(-1)
        return -(own * pixels.weight).mean()

    return _over_scales(loss, logits)


def oasis_fake(logits: Sequence[Array], pixels: Pixels) -> Array:
    """The discriminator's loss of fake images: the cross-entropy of 'generated' at each pixel."""

    def loss(f):
        generated = jax.nn.log_softmax(f)[..., 0]
        return -(generated if pixels.seen is None else generated * pixels.seen).mean()

    return _over_scales(loss, logits)


# Choices of `config.losses.gan_kind`: the generator's loss of fake images, then the discriminator's
# losses of real and of fake images.
GAN_LOSSES: dict[str, tuple[Callable[..., Array], ...]] = {
    "hinge": (hinge_generator, hinge_real, hinge_fake),
    "non_saturating": (non_saturating_real, non_saturating_real, non_saturating_fake),
    "oasis": (oasis_real, oasis_real, oasis_fake),
}


def l1(a: Array, b: Array) -> Array:
    """Mean absolute difference, computed in float32."""
    return jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean()


def l1_of_seen(a: Array, b: Array, seen: Array) -> Array:
    """Mean over images of the mean absolute difference of the pixels that count.

    Args:
      a: images `[B, H, W, 3]`.
      b: images `[B, H, W, 3]`.
      seen: bool `[B, H, W]`, whether a pixel counts. An image without such pixels adds 0.
    """
    difference = jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean(-1)
    return ((difference * seen).sum((1, 2)) / jnp.maximum(seen.sum((1, 2)), 1)).mean()


def perceptual(fake: Sequence[Array], real: Sequence[Array]) -> Array:
    """Weighted sum of the L1 distances between VGG19 activations of fake and real images.

    Args:
      fake: activations after relu1_1 … relu5_1.
      real: the same of real images; no gradient flows through them.
    """
    weighted = zip(PERCEPTUAL_WEIGHTS, fake, real, strict=True)
    return total(w * l1(f, jax.lax.stop_gradient(r)) for w, f, r in weighted)


def feature_matching(fake: Maps, real: Maps) -> Array:
    """L1 distance between inner feature maps, summed over layers and averaged over scales.

    Args:
      fake: feature maps of fake images.
      real: feature maps of real images; no gradient flows through them.
    """
    return _over_scales(
        lambda f, r: total(
            l1(a, jax.lax.stop_gradient(b)) for a, b in zip(f[:-1], r[:-1], strict=True)
        ),
        fake,
        real,
    )


def kl_divergence(gaussians: Sequence[tuple[Array, Array]]) -> Array:
    """KL divergence of Gaussians from the standard normal.

    Args:
      gaussians: pairs (mean, log variance).

    Returns:
      The mean over pairs of the divergence summed over all elements of a pair, including the batch.
    """
    of_each = [-0.5 * jnp.sum(1 + log - jnp.square(mean) - jnp.exp(log)) for mean, log in gaussians]
    return total(of_each) / len(of_each)


def r1(discriminate: Discriminate, image: Array, one_hot: Array, num_scales: int) -> Array:
    """R1 penalty ½ ‖∇ Σ logits‖² with respect to the image (Mescheder et al. 2018).

    Args:
      discriminate: maps (image, one-hot labels, scale) to the feature maps of that scale.
      image: real images `[B, H, W, 3]`.
      one_hot: `[B, H, W, L]`.
      num_scales: number of scales.

    Returns:
      The mean over examples and scales.
    """

    def penalty(scale):
        gradient = jax.grad(lambda x: discriminate(x, one_hot, scale)[-1].sum())(image)
        return jnp.square(gradient.astype(jnp.float32)).sum((1, 2, 3)).mean() / 2

    return sum(penalty(scale) for scale in range(num_scales)) / num_scales


def adaptive_scale(
    of_reconstruction: Array, of_gan: Array, reconstruction_weight: Array, gan_weight: Array
) -> Array:
    """Returns ‖∇ reconstruction‖ / ‖∇ GAN‖ at the generator's last layer, at most 10⁴.

    Both are of losses without weights, as the authors have it: the reconstruction is the mean of
    its losses by their weights. If a side has no weight, the scale is 1. See Esser et al. (2021),
    equation 7.

    Args:
      of_reconstruction: gradient of the weighted losses of the reconstruction.
      of_gan: gradient of the weighted GAN loss.
      reconstruction_weight: sum of the weights of the reconstruction.
      gan_weight: weight of the GAN loss.
    """
    has_both = (reconstruction_weight > 0) & (gan_weight > 0)
    # Where a weight is 0 the quotient is not used.
    weights = (jnp.where(has_both, w, 1) for w in (reconstruction_weight, gan_weight))
    norms = map(jnp.linalg.norm, (of_reconstruction, of_gan))
    reconstruction, gan = (n / w for n, w in zip(norms, weights, strict=True))
    return jnp.where(has_both, jnp.clip(reconstruction / (gan + 1e-4), 0, 1e4), 1)
