"""INADE: γ and β of each label's own noise, whose distribution is encoded (Tan et al. 2021)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.baselines.residual_generator import ResidualGenerator, faults_of_sizes
from scam_jax.models.family import Family
from scam_jax.models.layers.initialization import declare
from scam_jax.models.layers.label_maps import LabelTable, laid_out, region_means
from scam_jax.models.layers.latents import Gaussian, Latents
from scam_jax.models.layers.primitives import (
    Array,
    LayerSpec,
    Linear,
    instance_norm,
    leaky_relu,
    nearest_resize,
)

START_DIM = 256


class RegionConv(nn.Module):
    """3×3 convolution within regions: neighbours of another label than the centre's count as 0.

    Outside of the image is label 0.

    Attributes:
      features: channels of the result.
      stride: 1 or 2.
    """

    features: int
    stride: int = 1
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array, labels: Array) -> Array:
        """`[B, H, W, C]` and labels `[B, H', W']`, resized to it, to `[B, H/s, W/s, features]`."""
        kernel = self.param("kernel", declare, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", declare, (self.features,)).astype(self.layer.dtype)
        kernel = self.layer.scale(kernel, 9 * x.shape[-1]).astype(self.layer.dtype)
        labels = nearest_resize(labels, x.shape[1:3])
        centre = labels[:, :: self.stride, :: self.stride]
        x, labels = self._padded(x.astype(self.layer.dtype)), self._padded(labels)
        total = bias
        for y in range(3):
            for z in range(3):
                same = self._seen_from(labels, y, z, centre) == centre
                pixels = self._seen_from(x, y, z, centre) * same[..., None].astype(x.dtype)
                total = total + pixels @ kernel[y, z]
        return total

    def _padded(self, x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (1, 1), (1, 1), *((0, 0),) * (x.ndim - 3)))

    def _seen_from(self, padded: Array, y: int, z: int, centre: Array) -> Array:
        """The neighbour at one place of the kernel, of every centre."""
        height, width = ((n - 1) * self.stride + 1 for n in centre.shape[1:3])
        return padded[:, y : y + height : self.stride, z : z + width : self.stride]


class INADEEncoder(nn.Module):
    """Image `[B, H, W, 3]` in [-1, 1] and labels to `Gaussian`s of `[B, L, latent_dim]`, two of
    them: of the noise for scales, and for biases.

    Attributes:
      num_labels: labels L.
      latent_dim: width of a label's noise.
      conv_features: channels after the first convolution.
    """

    num_labels: int
    latent_dim: int = 64
    conv_features: int = 64
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(
        self, image: Array, labels: Array, keys: Array | None = None
    ) -> tuple[Gaussian, Gaussian]:
        def conv(name, times, x, stride=1):
            layer = RegionConv(times * self.conv_features, stride, self.layer, name=name)
            return leaky_relu(instance_norm(layer(x, labels)))

        maps = [image]
        for i, times in enumerate((1, 2, 4, 8), 1):
            maps.append(conv(f"layer_{i}", times, maps[-1], stride=2))
        x = conv("middle", 4, maps.pop())
        for i, times in enumerate((2, 1, 1), 1):
            x = jnp.concatenate([_enlarged(x, maps[-1].shape), maps.pop()], axis=-1)
            x = conv(f"up_{i}", times, x)
        x = _enlarged(x, image.shape)
        one_hot = jax.nn.one_hot(labels, self.num_labels)

        def code(name):
            layer = RegionConv(self.latent_dim, layer=self.layer, name=name)
            return region_means(one_hot, layer(x, labels))

        return tuple(
            Gaussian(code(f"{kind}_mean"), code(f"{kind}_log_variance"))
            for kind in ("scale", "bias")
        )

    def mix(self, from_subject: Array, subject: Latents, target: Latents) -> Latents:
        """Noise of the labels that are taken, bool `[L]`, from the subject, others the target's."""
        take = from_subject[:, None]
        return jax.tree.map(lambda a, b: jnp.where(take, a, b), subject, target)


def _enlarged(x: Array, like: tuple[int, ...]) -> Array:
    """Bilinear, half-pixel, to the height and width of the shape `like`."""
    return jax.image.resize(x, (len(x), *like[1:3], x.shape[-1]), "linear", antialias=False)


class INADEModulation(nn.Module):
    """γ·IN(x) + β: each label's noise through a linear layer, scaled and shifted by its tables."""

    num_labels: int
    layer: LayerSpec

    @nn.compact
    def __call__(
        self, x: Array, labels: Array, noise: Latents, keys: Array | None, train: bool
    ) -> Array:
        channels = x.shape[-1]
        linear = Linear(channels, self.layer, name="noise_linear")
        weight, bias = LabelTable(self.num_labels, (channels, 2), name="label_table")()
        one_hot = jax.nn.one_hot(labels, self.num_labels)
        gamma, beta = (
            laid_out(one_hot, (weight[..., i] * linear(n) + bias[..., i]).astype(x.dtype))
            for i, n in enumerate(noise)
        )
        return gamma * instance_norm(x) + beta


class INADEGenerator(ResidualGenerator):
    """Labels and noise, `[B, L, S]` for scales and for biases, to an image.

    The first map comes of further noise, new for each image; without keys that is 0. See
    `ResidualGenerator`.
    """

    def start(self, labels: Array, latents: Latents, keys: Array | None) -> Array:
        code = jnp.zeros((len(labels), START_DIM))
        if keys is not None:
            code = jax.vmap(lambda key: jax.random.normal(key, (START_DIM,)))(keys)
        return self.linear_start(labels, code)

    def modulation(self, name: str, i: int) -> nn.Module:
        return self.recomputed(INADEModulation)(self.num_labels, self.layer, name=name)


FAMILY = Family(
    INADEEncoder,
    INADEGenerator,
    shared_keys=("latent_dim",),
    variational=lambda model: True,
    faults=faults_of_sizes,
)
