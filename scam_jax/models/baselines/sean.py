"""SEAN (Zhu et al. 2020): one code per label, pooled over the label's region."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.baselines.residual_generator import ResidualGenerator, faults_of_sizes
from scam_jax.models.family import Family
from scam_jax.models.layers import convolution
from scam_jax.models.layers import latents as latent_codes
from scam_jax.models.layers.initialization import declare
from scam_jax.models.layers.label_maps import (
    Blend,
    CodeConv,
    LabelLinear,
    LabelMapEncoder,
    neighbours_of,
    region_means,
)
from scam_jax.models.layers.latents import Gaussian, Latents
from scam_jax.models.layers.primitives import (
    Array,
    BatchNorm,
    Conv,
    LayerSpec,
    Linear,
    instance_norm,
    leaky_relu,
    nearest_resize,
)


class UpConv(nn.Module):
    """Transposed 3×3 convolution that doubles the size: `[B, h, w, C] -> [B, 2h, 2w, features]`."""

    features: int
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", declare, (3, 3, self.features, x.shape[-1]))
        bias = self.param("bias", declare, (self.features,))
        kernel = self.layer.scale(kernel, 9 * x.shape[-1])
        dtype, size = self.layer.dtype, (2 * x.shape[1], 2 * x.shape[2])
        y = convolution.conv2d_transpose(
            x.astype(dtype), kernel.astype(dtype), stride=2, padding=1, size=size
        )
        return y + bias.astype(dtype)


class SEANEncoder(nn.Module):
    """Encodes each label's region of an image as one code.

    Attributes:
      num_labels: number of labels L.
      latent_dim: width of a label's code.
      conv_features: channels after the first convolution.
      use_vae: whether a linear layer turns the codes into a `Gaussian`.
      layer: how the layers compute.
    """

    num_labels: int
    latent_dim: int = 512
    conv_features: int = 32
    use_vae: bool = False
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, image: Array, labels: Array, keys: Array | None = None) -> Array | Gaussian:
        """Encodes images.

        Args:
          image: `[B, H, W, 3]` in [-1, 1].
          labels: `[B, H, W]`.
          keys: not used.

        Returns:
          Codes `[B, L, latent_dim]`, or a `Gaussian` of them. The pooled code of an absent label
          is 0.
        """

        def reflected(name, features, x):
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
            return instance_norm(Conv(features, padding=0, layer=self.layer, name=name)(x))

        x = leaky_relu(reflected("first_conv", self.conv_features, image))
        for i in range(2):
            features = 2 ** (i + 1) * self.conv_features
            conv = Conv(features, stride=2, layer=self.layer, name=f"down_{i}")
            x = leaky_relu(instance_norm(conv(x)))
        up = UpConv(8 * self.conv_features, self.layer, name="up_1")
        x = leaky_relu(instance_norm(up(x)))
        x = jnp.tanh(reflected("last_conv", self.latent_dim, x).astype(jnp.float32))
        small = nearest_resize(labels, x.shape[1:3])
        codes = region_means(jax.nn.one_hot(small, self.num_labels), x)
        if not self.use_vae:
            return codes
        layer = dataclasses.replace(self.layer, equalized=False)  # as in the authors' code
        both = Linear(2 * self.latent_dim, layer, name="gaussian")(codes)
        return Gaussian(*jnp.split(both.astype(jnp.float32), 2, axis=-1))

    def mix(self, sources: Array, subject: Array, target: Array) -> Array:
        """Mixes two images' codes by label, see `latents.mix`."""
        return latent_codes.mix(sources, subject, target)


class SEANModulation(nn.Module):
    """Computes (1 + γ)·BN(x + noise) + β, with γ and β from the codes and the label map.

    Attributes:
      num_labels: number of labels L.
      use_codes: whether γ and β blend those of the codes and of the label map. If False, they come
        from the label map alone.
      batch_axis: mesh axis over which batch norm shares its statistics.
      layer: how the layers compute.
    """

    num_labels: int
    use_codes: bool
    batch_axis: str | None
    layer: LayerSpec

    @nn.compact
    def __call__(
        self, x: Array, labels: Array, codes: Latents, keys: Array | None, train: bool
    ) -> Array:
        one_hot = jax.nn.one_hot(labels, self.num_labels)
        x = BatchNorm(self.batch_axis, name="batch_norm")(self._with_noise(x, keys), train)
        gamma, beta = self.of_label_map(one_hot, x)
        if self.use_codes:
            blend = Blend()
            nn.share_scope(self, blend)
            gamma, beta = blend(self._of_codes(one_hot, codes, x.shape[-1]), (gamma, beta))
        return (1 + gamma) * x + beta

    def _with_noise(self, x: Array, keys: Array | None) -> Array:
        amount = self.param("noise_scale", declare, (x.shape[-1],))
        if keys is None:
            raise ValueError("SEAN's noise needs `keys`, one PRNG key per example")
        noise = jax.vmap(lambda key: jax.random.normal(key, (*x.shape[1:3], 1)))(keys)
        return x + (amount * noise).astype(x.dtype)

    def of_label_map(self, one_hot: Array, x: Array) -> tuple[Array, Array]:
        """Returns the label map's γ and β, each of the shape of `x`."""
        encoder = LabelMapEncoder(x.shape[-1], layer=self.layer, name="label_map_encoder")
        return encoder(one_hot)

    def _of_codes(self, one_hot: Array, codes: Array, channels: int) -> tuple[Array, Array]:
        projection = LabelLinear(codes.shape[-1], self.layer, name="code_projection")
        projected, neighbours = nn.relu(projection(codes)), neighbours_of(one_hot)
        layers = (CodeConv(channels, self.layer, name=f"code_{n}") for n in ("gamma", "beta"))
        gamma, beta = (layer(neighbours, projected) for layer in layers)
        return gamma, beta


class SEANGenerator(ResidualGenerator):
    """Generates an image from labels and codes `[B, L, S]`, see `ResidualGenerator`."""

    activates_modulations = False
    modulation_class = SEANModulation

    def start(self, labels: Array, latents: Latents, keys: Array | None) -> Array:
        return self.one_hot_start(labels)

    def modulation(self, name: str, i: int) -> nn.Module:
        module = self.recomputed(self.modulation_class)
        use_codes = i < self.num_up_layers - 1
        return module(self.num_labels, use_codes, self.batch_axis, self.layer, name=name)


FAMILY = Family(
    SEANEncoder,
    SEANGenerator,
    shared_keys=("latent_dim",),
    variational=lambda model: model.encoder.use_vae,
    means_in_use=True,
    faults=faults_of_sizes,
    batch_norm=lambda model: True,
)
