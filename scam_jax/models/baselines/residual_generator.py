"""The generator of all baselines: residual blocks that the label map modulates."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.models.layers.latents import Latents
from scam_jax.models.layers.primitives import (
    Array,
    Conv,
    LayerSpec,
    Linear,
    leaky_relu,
    nearest_resize,
    start_size,
)


class ResidualGenerator(nn.Module):
    """Generates an image from labels and latents.

    A subclass defines `start`, which returns the first map, and `modulation`.

    Attributes:
      num_labels: number of labels L.
      features: nf, channels after the last block.
      num_up_layers: U, number of blocks, at least 4.
      spectral_norm: whether the convolutions of the blocks have spectral norm.
      batch_axis: mesh axis over which batch norm shares its statistics.
      rematerialize: whether the backward pass recomputes the modulations instead of storing them.
      layer: how the layers compute.
    """

    num_labels: int
    features: int = 64
    num_up_layers: int = 7
    spectral_norm: bool = True
    batch_axis: str | None = None
    rematerialize: bool = False
    layer: LayerSpec = LayerSpec()

    # The adaptive GAN weight compares gradients at this layer, see `losses.adaptive_gan`.
    last_layer = "last_conv"
    # Whether a LeakyReLU follows mod_0 and mod_1, in addition to the one before each convolution.
    activates_modulations = True

    def start(self, labels: Array, latents: Latents, keys: Array | None) -> Array:
        """Returns the first map, `[B, *self.start_of(labels), 16·nf]`.

        Args:
          labels: `[B, H, W]`.
          latents: sampled latents of the family's encoder.
          keys: PRNG keys `[B]` for noise, or None.
        """
        raise NotImplementedError

    def modulation(self, name: str, i: int) -> nn.Module:
        """Returns a modulation of block i.

        Args:
          name: the module's name.
          i: index of the block.

        Returns:
          A module that maps (map `[B, h, w, C]`, labels `[B, h, w]`, latents, keys, train) to the
          modulated map.
        """
        raise NotImplementedError

    def groups(self, i: int) -> int:
        """Returns the number of groups of the convolutions in block i."""
        return 1

    def width(self, i: int) -> int:
        """Returns the number of channels after block i."""
        return self.features * self.narrowing(i)

    def narrowing(self, i: int) -> int:
        """Returns the width of block i relative to the last block: 16, …, 16, 8, 4, 2, 1."""
        return min(16, 2 ** (self.num_up_layers - 1 - i))

    def start_of(self, labels: Array) -> tuple[int, int]:
        """Returns the height and width of the first map."""
        height, width = labels.shape[1:3]
        return start_size(height, width, self.num_up_layers - 2)

    def one_hot_start(self, labels: Array) -> Array:
        """Returns a first map that depends on the labels alone."""
        small = jax.nn.one_hot(nearest_resize(labels, self.start_of(labels)), self.num_labels)
        return Conv(16 * self.features, layer=self.layer, name="first_conv")(small)

    def linear_start(self, labels: Array, code: Array) -> Array:
        """Returns a first map that a linear layer computes from a code `[B, Z]`."""
        height, width = self.start_of(labels)
        features = 16 * self.features
        x = Linear(features * height * width, self.layer, name="fc")(code)
        # channels first, as PyTorch flattens a map
        return x.reshape(code.shape[0], features, height, width).transpose(0, 2, 3, 1)

    @nn.compact
    def __call__(
        self, labels: Array, latents: Latents, keys: Array | None = None, train: bool = False
    ) -> Array:
        """Generates images.

        Args:
          labels: `[B, H, W]` integers below num_labels.
          latents: sampled latents of the family's encoder.
          keys: PRNG keys `[B]` for noise, or None.
          train: whether batch norm uses and updates the statistics of the batch.

        Returns:
          Images `[B, H, W, 3]` in [-1, 1], float32.
        """
        x = self.start(labels, latents, _fold_in(keys, 0))
        for i in range(self.num_up_layers):
            x = self._block(i, x, labels, latents, keys, train)
            x = nearest_resize(x, self._size_after(i, x, labels))
        x = Conv(3, layer=self.layer, name="last_conv")(leaky_relu(x))
        return jnp.tanh(x.astype(jnp.float32))

    def _size_after(self, i: int, x: Array, labels: Array) -> tuple[int, int]:
        """Returns the size to which the output x of block i is resized."""
        if i == self.num_up_layers - 1:
            return labels.shape[1], labels.shape[2]
        # with six or more blocks, the second keeps the size
        times = 1 if i == 1 and self.num_up_layers >= 6 else 2
        return times * x.shape[1], times * x.shape[2]

    def _block(self, i, x, labels, latents, keys, train) -> Array:
        """Applies residual block i at constant size: `[B, h, w, C]` to `[B, h, w, C']`."""
        channels, features = x.shape[-1], self.width(i)
        labels = nearest_resize(labels, x.shape[1:3])

        def modulated(name, x, number):
            module = self.modulation(f"block_{i}_{name}", i)
            return module(x, labels, latents, _fold_in(keys, 1 + 3 * i + number), train)

        def conv(name, x, features, **options):
            return Conv(
                features,
                groups=self.groups(i),
                spectral=self.spectral_norm,
                layer=self.layer,
                name=f"block_{i}_{name}",
                **options,
            )(x)

        activation = leaky_relu if self.activates_modulations else (lambda x: x)
        y = activation(modulated("mod_0", x, 0))
        y = conv("conv_0", leaky_relu(y), min(channels, features))
        y = activation(modulated("mod_1", y, 1))
        y = conv("conv_1", leaky_relu(y), features)
        if channels == features:
            return x + y
        shortcut = modulated("mod_res", x, 2)
        return conv("conv_res", shortcut, features, size=1, padding=0, use_bias=False) + y

    def recomputed(self, module: type[nn.Module]) -> type[nn.Module]:
        """Returns a modulation's class, wrapped in `nn.remat` if `rematerialize` is set."""
        # argument 5, train, is static
        return nn.remat(module, static_argnums=(5,)) if self.rematerialize else module


def _fold_in(keys: Array | None, number: int) -> Array | None:
    """Returns the keys of one of the generator's draws, derived from the keys of the examples."""
    return None if keys is None else jax.vmap(lambda k: jax.random.fold_in(k, number))(keys)


def faults_of_sizes(config: ConfigDict) -> list[tuple[str, str]]:
    """Checks that the first map of a `ResidualGenerator` is not empty.

    Args:
      config: the whole config.

    Returns:
      A list of (key, remedy) pairs: one if the map would be empty, otherwise none.
    """
    size, layers = (config.data.height, config.data.width), config.model.generator.num_up_layers
    if min(start_size(*size, layers - 2)) >= 1:
        return []
    remedy = f"the first map of a {size[0]}×{size[1]} image would be empty: use fewer up layers"
    return [("model.generator.num_up_layers", remedy)]
