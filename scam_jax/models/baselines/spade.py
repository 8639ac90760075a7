"""SPADE (Park et al. 2019): γ and β from the label map, one code for the whole image."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.baselines.residual_generator import ResidualGenerator, faults_of_sizes
from scam_jax.models.family import Family
from scam_jax.models.layers.label_maps import LabelMapEncoder
from scam_jax.models.layers.latents import Gaussian, Latents
from scam_jax.models.layers.primitives import (
    Array,
    BatchNorm,
    Conv,
    LayerSpec,
    Linear,
    instance_norm,
    leaky_relu,
)

ENCODER_SIZE = 256


class StridedConvs(nn.Module):
    """Six stride-2 convolutions with spectral norm, instance norm and LeakyReLU.

    Attributes:
      features: channels after the first convolution; the others have 2, 4, 8, 8, 8 times as many.
      groups: number of groups of every convolution.
      layer: how the layers compute.
    """

    features: int
    groups: int = 1
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i, times in enumerate((1, 2, 4, 8, 8, 8), 1):
            conv = Conv(
                times * self.features,
                stride=2,
                groups=self.groups,
                spectral=True,
                layer=self.layer,
                name=f"layer_{i}",
            )
            x = leaky_relu(instance_norm(conv(x)))
        return x


class SPADEEncoder(nn.Module):
    """Encodes a whole image as one Gaussian code.

    Attributes:
      latent_dim: width of the code.
      conv_features: channels after the first convolution.
      use_vae: whether there is a code. Without one, the generator starts from the label map.
      layer: how the layers compute.
    """

    latent_dim: int = 256
    conv_features: int = 64
    use_vae: bool = True
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(
        self, image: Array, labels: Array, keys: Array | None = None
    ) -> Gaussian | tuple[()]:
        """Encodes images.

        Args:
          image: `[B, H, W, 3]` in [-1, 1].
          labels: not used.
          keys: not used.

        Returns:
          A `Gaussian` of `[B, latent_dim]`, or an empty tuple if `use_vae` is False.
        """
        if not self.use_vae:
            return ()
        if image.shape[1:3] != (ENCODER_SIZE, ENCODER_SIZE):
            size = (image.shape[0], ENCODER_SIZE, ENCODER_SIZE, 3)
            image = jax.image.resize(image, size, "linear", antialias=False)
        convs = StridedConvs(self.conv_features, layer=self.layer)
        nn.share_scope(self, convs)
        x = convs(image)
        # channels first, as PyTorch flattens a map
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        layers = (Linear(self.latent_dim, self.layer, name=n) for n in ("mean", "log_variance"))
        return Gaussian(*(layer(x).astype(jnp.float32) for layer in layers))

    def mix(self, sources: Array, subject: Latents, target: Latents) -> Latents:
        """Picks the subject's code if a label of `sources`, `[B, L]`, takes it, or the target's."""
        take = (sources >= 0).any(-1, keepdims=True)
        return jax.tree.map(lambda a, b: jnp.where(take, a, b), subject, target)


class SPADEModulation(nn.Module):
    """Computes (1 + γ)·BN(x) + β, with γ and β from a `LabelMapEncoder`."""

    num_labels: int
    batch_axis: str | None
    layer: LayerSpec

    @nn.compact
    def __call__(
        self, x: Array, labels: Array, latents: Latents, keys: Array | None, train: bool
    ) -> Array:
        encoder = LabelMapEncoder(x.shape[-1], layer=self.layer, name="label_map_encoder")
        gamma, beta = encoder(jax.nn.one_hot(labels, self.num_labels))
        return (1 + gamma) * BatchNorm(self.batch_axis, name="batch_norm")(x, train) + beta


class SPADEGenerator(ResidualGenerator):
    """Generates an image from labels and a code `[B, latent_dim]`, or from labels alone.

    See `ResidualGenerator`.
    """

    def start(self, labels: Array, latents: Latents, keys: Array | None) -> Array:
        if isinstance(latents, tuple):
            return self.one_hot_start(labels)
        return self.linear_start(labels, latents)

    def modulation(self, name: str, i: int) -> nn.Module:
        module = self.recomputed(SPADEModulation)
        return module(self.num_labels, self.batch_axis, self.layer, name=name)


FAMILY = Family(
    SPADEEncoder,
    SPADEGenerator,
    shared_keys=("latent_dim",),
    variational=lambda model: model.encoder.use_vae,
    faults=faults_of_sizes,
    batch_norm=lambda model: True,
    has_latents=lambda model: model.encoder.use_vae,
)
