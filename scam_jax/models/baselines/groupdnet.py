"""GroupDNet: each label an image and a group of convolutions of its own (Zhu et al. 2020)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.models.baselines.residual_generator import ResidualGenerator
from scam_jax.models.baselines.spade import ENCODER_SIZE, StridedConvs
from scam_jax.models.family import Family
from scam_jax.models.layers.label_maps import LabelMapEncoder
from scam_jax.models.layers.latents import Gaussian, Latents
from scam_jax.models.layers.primitives import Array, Conv, LayerSpec, instance_norm

CODE_FEATURES = 8
START_FEATURES = 16


def crops(image: Array, labels: Array, num_labels: int, size: int) -> Array:
    """Each label's part of an image, black elsewhere, cropped to it and resized.

    A part spans the rows and columns in which its values do not sum to 0. Resized nearest.

    Args:
      image: `[H, W, 3]`.
      labels: `[H, W]`.
      num_labels: labels L.
      size: height and width of a crop.

    Returns:
      `[L, size, size, 3]`, zeros for a label without such rows.
    """
    one_hot = jax.nn.one_hot(labels, num_labels, axis=0)
    brightness = one_hot * image.sum(-1)

    def sources(sums):
        """Which positions the crops' are, `[L, size]`, of sums by position `[L, n]`."""
        filled = sums != 0
        first = filled.argmax(1)
        last = filled.shape[1] - 1 - filled[:, ::-1].argmax(1)
        steps = jnp.arange(size) * (last - first + 1)[:, None] // size
        return first[:, None] + steps, filled.any(1)

    (rows, some_rows), (columns, some_columns) = (sources(brightness.sum(a)) for a in (2, 1))
    places = rows[:, :, None], columns[:, None, :]
    own = labels[places] == jnp.arange(num_labels)[:, None, None]
    own &= (some_rows & some_columns)[:, None, None]
    return jnp.where(own[..., None], image[places], 0)


class GroupDNetEncoder(nn.Module):
    """Image `[B, H, W, 3]` in [-1, 1] and labels to a `Gaussian` of `[B, 4, 4, 8L]`, 8 channels a
    label.

    Attributes:
      num_labels: labels L.
      conv_features: channels of a label after the first convolution.
    """

    num_labels: int
    conv_features: int = 32
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, image: Array, labels: Array, keys: Array | None = None) -> Gaussian:
        parts = jax.vmap(lambda x, y: crops(x, y, self.num_labels, ENCODER_SIZE))(image, labels)
        # each label's three channels together, as its group takes them
        parts = parts.transpose(0, 2, 3, 1, 4).reshape(len(image), ENCODER_SIZE, ENCODER_SIZE, -1)
        convs = StridedConvs(self.conv_features * self.num_labels, self.num_labels, self.layer)
        nn.share_scope(self, convs)
        x = convs(parts)

        def code(name):
            features = CODE_FEATURES * self.num_labels
            conv = Conv(features, groups=self.num_labels, layer=self.layer, name=name)
            return conv(x).astype(jnp.float32)

        return Gaussian(code("mean"), code("log_variance"))

    def mix(self, from_subject: Array, subject: Latents, target: Latents) -> Latents:
        """Channels of the labels taken, bool `[L]`, from the subject, others the target's."""
        take = jnp.repeat(from_subject, CODE_FEATURES)
        return jax.tree.map(lambda a, b: jnp.where(take, a, b), subject, target)


class GroupDNetModulation(nn.Module):
    """(1 + γ)·IN(x) + β, γ and β from a label-map encoder of groups."""

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
    """Labels and codes `[B, h, w, 8L]` to an image, from a map as large as the codes are.

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
        remedy = f"GroupDNet needs a channel a label: use {num_labels} or more"
        faults.append(("model.generator.features", remedy))
    if generator.num_up_layers < 5:
        faults.append(("model.generator.num_up_layers", "GroupDNet needs 5 or more"))
    return faults


FAMILY = Family(
    GroupDNetEncoder,
    GroupDNetGenerator,
    variational=lambda model: True,
    faults=_faults,
)
