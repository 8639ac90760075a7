"""INADE (Tan et al. 2021): γ and β from each label's noise, whose distribution is encoded."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.baselines.residual_generator import ResidualGenerator, faults_of_sizes
from scam_jax.models.family import Family
from scam_jax.models.layers import latents as latent_codes
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
    """3×3 convolution within regions: neighbours with another label than the centre count as 0.

    Attributes:
      features: output channels.
      stride: 1 or 2.
      layer: how the layer computes.
    """

    features: int
    stride: int = 1
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array, labels: Array) -> Array:
        """Convolves a map within the regions of its labels.

        Args:
          x: `[B, H, W, C]`.
          labels: `[B, H', W']`, resized to H×W.

        Returns:
          `[B, H/stride, W/stride, features]`.
        """
        kernel = self.param("kernel", declare, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", declare, (self.features,)).astype(self.layer.dtype)
        kernel = self.layer.scale(kernel, 9 * x.shape[-1]).astype(self.layer.dtype)
        labels = nearest_resize(labels, x.shape[1:3])
        centre = labels[:, :: self.stride, :: self.stride]
        x, labels = self._zero_pad(x.astype(self.layer.dtype)), self._zero_pad(labels)
        total = bias
        for row in range(3):
            for column in range(3):
                same = self._neighbours(labels, row, column, centre) == centre
                pixels = self._neighbours(x, row, column, centre) * same[..., None].astype(x.dtype)
                total = total + pixels @ kernel[row, column]
        return total

    def _zero_pad(self, x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (1, 1), (1, 1), *((0, 0),) * (x.ndim - 3)))

    def _neighbours(self, padded: Array, row: int, column: int, centre: Array) -> Array:
        """Returns, for every centre, its neighbour at one position of the kernel."""
        height, width = ((n - 1) * self.stride + 1 for n in centre.shape[1:3])
        return padded[:, row : row + height : self.stride, column : column + width : self.stride]


class INADEEncoder(nn.Module):
    """Encodes each label's region of an image as two noise distributions, for γ and for β.

    Attributes:
      num_labels: number of labels L.
      latent_dim: width of a label's noise.
      conv_features: channels after the first convolution.
      layer: how the layers compute.
    """

    num_labels: int
    latent_dim: int = 64
    conv_features: int = 64
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(
        self, image: Array, labels: Array, keys: Array | None = None
    ) -> tuple[Gaussian, Gaussian]:
        """Encodes images.

        Args:
          image: `[B, H, W, 3]` in [-1, 1].
          labels: `[B, H, W]`.
          keys: not used.

        Returns:
          Two `Gaussian`s of `[B, L, latent_dim]`: the noise for γ (scale) and for β (bias).
        """

        def conv(name, times, x, stride=1):
            layer = RegionConv(times * self.conv_features, stride, self.layer, name=name)
            return leaky_relu(instance_norm(layer(x, labels)))

        maps = [image]
        for i, times in enumerate((1, 2, 4, 8), 1):
            maps.append(conv(f"layer_{i}", times, maps[-1], stride=2))
        x = conv("middle", 4, maps.pop())
        for i, times in enumerate((2, 1, 1), 1):
            x = jnp.concatenate([_upsample(x, maps[-1].shape), maps.pop()], axis=-1)
            x = conv(f"up_{i}", times, x)
        x = _upsample(x, image.shape)
        one_hot = jax.nn.one_hot(labels, self.num_labels)

        def code(name):
            layer = RegionConv(self.latent_dim, layer=self.layer, name=name)
            return region_means(one_hot, layer(x, labels))

        scale, bias = (
            Gaussian(code(f"{kind}_mean"), code(f"{kind}_log_variance"))
            for kind in ("scale", "bias")
        )
        return scale, bias

    def mix(self, sources: Array, subject: Latents, target: Latents) -> Latents:
        """Mixes two images' noise by label, see `latents.mix`."""
        return latent_codes.mix(sources, subject, target)


def _upsample(x: Array, like: tuple[int, ...]) -> Array:
    """Resizes x bilinearly to the height and width of the shape `like`."""
    return jax.image.resize(x, (x.shape[0], *like[1:3], x.shape[-1]), "linear", antialias=False)


class INADEModulation(nn.Module):
    """Computes γ·IN(x) + β, with γ and β from each label's noise.

    A linear layer maps the noise to channels. Tables then scale and shift it per label and channel.
    """

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
    """Generates an image from labels and two noises `[B, L, S]`, for γ and for β.

    The first map comes from further noise, drawn from `keys` for every image, or 0 without keys.
    See `ResidualGenerator`.
    """

    def start(self, labels: Array, latents: Latents, keys: Array | None) -> Array:
        code = jnp.zeros((labels.shape[0], START_DIM))
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
