"""GroupDNet (Zhu et al. 2020): a crop of the image and a group of convolutions for each label."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.models.baselines.residual_generator import ResidualGenerator
from scam_jax.models.baselines.spade import ENCODER_SIZE, StridedConvs
from scam_jax.models.family import Family
from scam_jax.models.layers import latents as latent_codes
from scam_jax.models.layers.label_maps import LabelMapEncoder
from scam_jax.models.layers.latents import Gaussian, Latents
from scam_jax.models.layers.primitives import Array, Conv, LayerSpec, instance_norm

CODE_FEATURES = 8
START_FEATURES = 16


def crops(image: Array, labels: Array, num_labels: int, size: int) -> Array:
    """Crops each label's region out of an image and resizes it by nearest neighbour.

    A region spans all rows and columns in which the sum of its pixel values is not 0. In its crop,
    the pixels of other labels are 0.

    Args:
      image: `[H, W, 3]`.
      labels: `[H, W]`.
      num_labels: number of labels L.
      size: height and width of a crop.

    Returns:
      `[L, size, size, 3]`, zeros for a label without such rows or columns.
    """
    one_hot = jax.nn.one_hot(labels, num_labels, axis=0)
    sums_of_pixels = one_hot * image.sum(-1)

    def sources(profile):
        """Maps sums per row or column `[L, n]` to source indices `[L, size]` and presence `[L]`."""
        filled = profile != 0
        first = filled.argmax(1)
        last = filled.shape[1] - 1 - filled[:, ::-1].argmax(1)
        steps = jnp.arange(size) * (last - first + 1)[:, None] // size
        return first[:, None] + steps, filled.any(1)

    (rows, some_rows), (columns, some_columns) = (sources(sums_of_pixels.sum(a)) for a in (2, 1))
    positions = rows[:, :, None], columns[:, None, :]
    own = labels[positions] == jnp.arange(num_labels)[:, None, None]
    own &= (some_rows & some_columns)[:, None, None]
    return jnp.where(own[..., None], image[positions], 0)


class GroupDNetEncoder(nn.Module):
    """Encodes each label's crop of an image with its own group of convolutions.

    Attributes:
      num_labels: number of labels L.
      conv_features: channels per label after the first convolution.
      layer: how the layers compute.
    """

    num_labels: int
    conv_features: int = 32
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, image: Array, labels: Array, keys: Array | None = None) -> Gaussian:
        """Encodes images.

        Args:
          image: `[B, H, W, 3]` in [-1, 1].
          labels: `[B, H, W]`.
          keys: not used.

        Returns:
          A `Gaussian` of `[B, 4, 4, 8L]`, 8 channels per label.
        """
        parts = jax.vmap(lambda x, y: crops(x, y, self.num_labels, ENCODER_SIZE))(image, labels)
        # the three channels of a label are adjacent, because they form a group
        parts = parts.transpose(0, 2, 3, 1, 4).reshape(
            image.shape[0], ENCODER_SIZE, ENCODER_SIZE, -1
        )
        convs = StridedConvs(self.conv_features * self.num_labels, self.num_labels, self.layer)
        nn.share_scope(self, convs)
        x = convs(parts)

        def code(name):
            features = CODE_FEATURES * self.num_labels
            conv = Conv(features, groups=self.num_labels, layer=self.layer, name=name)
            return conv(x).astype(jnp.float32)

        return Gaussian(code("mean"), code("log_variance"))

    def mix(self, sources: Array, subject: Latents, target: Latents) -> Latents:
        """Mixes two images' codes by label, see `latents.mix`; labels are groups of channels."""

        def by_label(code: Array) -> Array:
            return jnp.moveaxis(code.reshape(*code.shape[:3], -1, CODE_FEATURES), 3, 1)

        subject, target = jax.tree.map(by_label, (subject, target))
        mixed = latent_codes.mix(sources, subject, target)
        return jax.tree.map(
            lambda code: jnp.moveaxis(code, 1, 3).reshape(*code.shape[:1], *code.shape[2:4], -1),
            mixed,
        )


class GroupDNetModulation(nn.Module):
    """Computes (1 + γ)·IN(x) + β, with γ and β from a grouped `LabelMapEncoder`."""

    num_labels: int
    groups: int
    layer: LayerSpec

    @nn.compact
    def __call__(
        self, x: Array, labels: Array, latents: Latents, keys: Array | None, train: bool
    ) -> Array:
        encoder = LabelMapEncoder(
            x.shape[-1],
            hidden=self.num_labels * self.groups,
            hidden_groups=self.num_labels,
            groups=self.groups,
            layer=self.layer,
            name="label_map_encoder",
        )
        gamma, beta = encoder(jax.nn.one_hot(labels, self.num_labels))
        return (1 + gamma) * instance_norm(x) + beta


class GroupDNetGenerator(ResidualGenerator):
    """Generates an image from labels and codes `[B, h, w, 8L]`; the first map has the codes' size.

    `features` is rounded down to a multiple of the number of labels. See `ResidualGenerator`.
    """

    def start(self, labels: Array, latents: Latents, keys: Array | None) -> Array:
        features = START_FEATURES * self.num_labels
        return Conv(features, groups=self.num_labels, layer=self.layer, name="fc")(latents)

    def width(self, i: int) -> int:
        return self.features // self.num_labels * self.num_labels * self.narrowing(i)

    def groups(self, i: int) -> int:
        return self.narrowing(i)

    def modulation(self, name: str, i: int) -> nn.Module:
        module = self.recomputed(GroupDNetModulation)
        return module(self.num_labels, self.groups(i), self.layer, name=name)


def _faults(config: ConfigDict) -> list[tuple[str, str]]:
    generator, num_labels = config.model.generator, config.data.num_labels
    faults = []
    if generator.features < num_labels:
        remedy = f"GroupDNet needs one channel per label: use {num_labels} or more"
        faults.append(("model.generator.features", remedy))
    if generator.num_up_layers < 5:
        faults.append(("model.generator.num_up_layers", "GroupDNet needs 5 or more"))
    return faults


FAMILY = Family(
    GroupDNetEncoder,
    GroupDNetGenerator,
    variational=lambda model: True,
    faults=_faults,
    grouped_by_label=True,
)
