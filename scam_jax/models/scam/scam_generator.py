"""The SCAM generator, from labels and latents to an image (paper, section 3.2)."""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.layers.initialization import declare
from scam_jax.models.layers.label_maps import Blend, LabelMapEncoder
from scam_jax.models.layers.primitives import (
    AffineParams,
    Array,
    BatchNorm,
    Conv,
    LayerSpec,
    Linear,
    instance_norm,
    layer_norm,
    leaky_relu,
    nearest_resize,
    sinusoidal_position,
    start_size,
)
from scam_jax.models.scam.attention import MaskedAttention, MaskedTransformer, same_label
from scam_jax.models.scam.latent_layout import LatentLayout
from scam_jax.models.scam.regions import Regions, find_regions

NORMS = ("instance", "layer", "batch")


class Modulation(nn.Module):
    """Modulates a map by the latents of each pixel's label.

    Computes (1 + γ)·norm(x) + β, with γ and β from attention of the pixels to the latents.

    Attributes:
      layout: the order of the latents.
      attention_dim: attention width A.
      num_heads: number of attention heads.
      norm: 'instance', 'layer' or 'batch'.
      duplex: whether the latents first attend to the map. If False, they pass through two linear
        layers instead.
      mask_adain: whether γ and β are blended with those that a `LabelMapEncoder` computes from the
        attention mask.
      batch_axis: mesh axis over which batch norm shares its statistics.
      layer: how the layers compute.
    """

    layout: LatentLayout
    attention_dim: int
    num_heads: int
    norm: str
    duplex: bool
    mask_adain: bool = False
    batch_axis: str | None = None
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(
        self,
        x: Array,
        size: tuple[int, int],
        latents: Array,
        regions: Regions,
        noise: Array | None,
        train: bool,
    ) -> tuple[Array, Array]:
        """Resizes and modulates a map.

        Args:
          x: map `[B, h', w', C]`.
          size: height h and width w of the result.
          latents: `[B, N, S]`.
          regions: regions of the label maps at `size`.
          noise: `[B, h·w]`, added with a learned scale per channel, or None.
          train: whether batch norm uses and updates the statistics of the batch.

        Returns:
          The modulated and activated map `[B, h, w, C]`, and the updated latents `[B, N, S]`.
        """
        normalized = self._norm(x, size, train)
        x = nearest_resize(x, size)
        batch, channels = x.shape[0], x.shape[-1]
        position = sinusoidal_position(*size, channels).astype(x.dtype)
        pixels = (x + position).reshape(*regions.labels.shape, channels)
        latents = self._update(latents, pixels, regions)
        gamma, beta = self._gamma_beta(pixels, latents, regions)
        gamma, beta = gamma.reshape(x.shape), beta.reshape(x.shape)
        if self.mask_adain:
            gamma, beta = self._blend(gamma, beta, regions)
        y = (1 + gamma) * normalized + beta
        if noise is not None:
            amount = self.param("noise_scale", declare, (channels,))
            y = y + (amount * noise.reshape(batch, *size, 1)).astype(y.dtype)
        return leaky_relu(y), latents

    def _update(self, latents: Array, pixels: Array, regions: Regions) -> Array:
        """Updates the latents `[B, N, S]`, from the pixels if duplex."""
        if self.duplex:
            transformer = MaskedTransformer(
                self.attention_dim, self.num_heads, self.layer, name="image_to_latent"
            )
            return transformer.gather(latents, pixels, regions, self.layout)
        hidden = leaky_relu(Linear(latents.shape[-1], self.layer, name="latent_mlp_1")(latents))
        return Linear(latents.shape[-1], self.layer, name="latent_mlp_2")(hidden)

    def _gamma_beta(self, pixels: Array, latents: Array, regions: Regions) -> list[Array]:
        """Returns γ and β, each `[B, h·w, C]`, from attention of the pixels to the latents."""
        attention = MaskedAttention(
            self.attention_dim, self.num_heads, self.layer, name="latent_to_image"
        )
        channels = pixels.shape[-1]
        layers = [AffineParams(self.layer, name=name) for name in ("gamma", "beta")]
        then = [layer(channels, channels) for layer in layers]
        return attention.look_up(pixels, latents, regions, self.layout, then)

    def _blend(self, gamma: Array, beta: Array, regions: Regions) -> tuple[Array, Array]:
        """Blends γ and β with those of the attention mask."""
        mask_map = same_label(regions.labels, self.layout.owners[None])
        mask_map = mask_map.reshape(*gamma.shape[:3], -1).astype(gamma.dtype)
        encoder = LabelMapEncoder(gamma.shape[-1], layer=self.layer, name="label_map_encoder")
        blend = Blend()
        nn.share_scope(self, blend)
        return blend((gamma, beta), encoder(mask_map))

    def _norm(self, x: Array, size: tuple[int, int], train: bool) -> Array:
        """Returns the map, resized to `size` and normalized."""
        if self.norm == "batch":
            return BatchNorm(self.batch_axis, name="batch_norm")(nearest_resize(x, size), train)
        norm = {"instance": instance_norm, "layer": layer_norm}[self.norm]
        if all(new % old == 0 for new, old in zip(size, x.shape[1:3], strict=True)):
            # each pixel is repeated equally often, so mean and variance stay the same
            return nearest_resize(norm(x), size)
        return norm(nearest_resize(x, size))


class SCAMGenerator(nn.Module):
    """Generates an image from labels and latents.

    Attributes:
      num_labels, latents_per_label, background_latents: see `SATEncoder`.
      attention_dim: attention width A.
      features: nf, channels after the last block.
      num_up_layers: U, number of blocks, at least 4. Each doubles the size.
      num_heads: number of attention heads.
      attention: 'duplex' lets the latents attend to the map in each modulation and passes them from
        block to block; 'simplex' starts every block with the encoder's latents.
      architecture: 'skip' adds the output of every block to a running image; 'resnet' gives the
        blocks residual connections and makes an image of the last output alone.
      norm: 'instance', 'layer' or 'batch'.
      mask_adain_layers: number n of blocks, from the first, with `Modulation.mask_adain` set. The
        last of U blocks, as in the authors' code, has it if n is U - 1.
      add_noise: whether modulations add noise, drawn from `keys`, at test time too.
      batch_axis: mesh axis over which batch norm shares its statistics.
      ignores: whether pixels may have the label L, which belongs to no region.
      rematerialize: whether the backward pass recomputes the modulations instead of storing them.
      layer: how the layers compute.
    """

    num_labels: int
    latents_per_label: int
    background_latents: int
    attention_dim: int
    features: int = 64
    num_up_layers: int = 6
    num_heads: int = 1
    attention: str = "duplex"
    architecture: str = "skip"
    norm: str = "instance"
    mask_adain_layers: int = 0
    add_noise: bool = True
    batch_axis: str | None = None
    ignores: bool = False
    rematerialize: bool = False
    layer: LayerSpec = LayerSpec()

    @property
    def last_layer(self) -> str:
        """Name of the layer where the adaptive GAN weight compares gradients."""
        return f"block_{self.num_up_layers - 1}_rgb_conv"

    @nn.compact
    def __call__(
        self, labels: Array, latents: Array, keys: Array | None = None, train: bool = False
    ) -> Array:
        """Generates images.

        Args:
          labels: `[B, H, W]` integers below num_labels, or num_labels if `ignores` is set.
          latents: `[B, N, S]`.
          keys: PRNG keys `[B]`, needed if `add_noise` is set.
          train: whether batch norm uses and updates the statistics of the batch.

        Returns:
          Images `[B, H, W, 3]` in [-1, 1], float32.
        """
        sizes = self._sizes(*labels.shape[1:3])
        regions = [
            find_regions(nearest_resize(labels, size), self.num_labels, self.ignores)
            for size in sizes
        ]
        noise = self._noise(keys, sizes)
        one_hot = jax.nn.one_hot(nearest_resize(labels, sizes[0]), self.num_labels)
        x = Conv(16 * self.features, layer=self.layer, name="first_conv")(one_hot)
        running: Array | None = None
        encoded = latents
        for i in range(self.num_up_layers):
            if self.attention == "simplex":
                latents = encoded
            x, latents = self._block(i, x, sizes[i + 1], latents, regions, noise[i], train)
            last = i == self.num_up_layers - 1
            if self.architecture == "skip" or last:
                rgb = self._to_rgb(i, x, latents, regions[i + 1], train, plain=last)
                if running is not None:
                    rgb = nearest_resize(running, sizes[i + 1]) + rgb
                running = rgb
        assert running is not None
        return jnp.tanh(running.astype(jnp.float32))

    def _sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Returns the sizes of the first map and of every block's output, the image's last."""
        h, w = start_size(height, width, self.num_up_layers)
        doubled = [(h * 2**i, w * 2**i) for i in range(self.num_up_layers)]
        return [*doubled, (height, width)]

    def _noise(
        self, keys: Array | None, sizes: list[tuple[int, int]]
    ) -> Sequence[Sequence[Array | None]]:
        """Draws the noise `[B, h·w]` of each block's modulations.

        There is one draw per example, which is cut into pieces. It depends neither on the batch nor
        on the number of devices.
        """
        modulations = 3 if self.architecture == "resnet" else 2
        if not self.add_noise:
            return [[None] * modulations] * self.num_up_layers
        if keys is None:
            raise ValueError("add_noise needs `keys`, one PRNG key per example")
        pixels = [h * w for h, w in sizes]
        counts = [[a] + [b] * (modulations - 1) for a, b in itertools.pairwise(pixels)]
        flat = [count for block in counts for count in block]
        draws = jax.vmap(lambda key: jax.random.normal(key, (sum(flat),)))(keys)
        pieces = jnp.split(draws, np.cumsum(flat)[:-1], axis=1)
        return [pieces[i : i + modulations] for i in range(0, len(pieces), modulations)]

    def _layout(self) -> LatentLayout:
        return LatentLayout(self.num_labels, self.latents_per_label, self.background_latents)

    def _has_mask_adain(self, i: int) -> bool:
        last = self.num_up_layers - 1
        return self.mask_adain_layers == last if i == last else i < self.mask_adain_layers

    def _modulation(self, name: str, i: int, *, duplex: bool) -> Modulation:
        # arguments 2 and 6, size and train, are static
        cls = nn.remat(Modulation, static_argnums=(2, 6)) if self.rematerialize else Modulation
        return cls(
            layout=self._layout(),
            attention_dim=self.attention_dim,
            num_heads=self.num_heads,
            norm=self.norm,
            duplex=duplex,
            mask_adain=self._has_mask_adain(i),
            batch_axis=self.batch_axis,
            layer=self.layer,
            name=f"block_{i}_{name}",
        )

    def _block(self, i, x, new_size, latents, regions, noise, train) -> tuple[Array, Array]:
        """Applies block i: maps `[B, h, w, C]` to `[B, *new_size, C']` and updates the latents."""
        channels = self.features * 2 ** min(4, max(0, self.num_up_layers - 1 - i))
        small, large = regions[i], regions[i + 1]

        def modulate(name, x, size, latents, regions, noise):
            module = self._modulation(name, i, duplex=self.attention == "duplex")
            return module(x, size, latents, regions, noise, train)

        def conv(name, x):
            return Conv(channels, layer=self.layer, name=f"block_{i}_{name}")(leaky_relu(x))

        d, new_latents = modulate("mod_0", x, x.shape[1:3], latents, small, noise[0])
        d = conv("conv_0", d)
        d, new_latents = modulate("mod_1", d, new_size, new_latents, large, noise[1])
        d = conv("conv_1", d)
        if self.architecture == "resnet":
            r, _ = modulate("mod_res", x, new_size, latents, large, noise[2])
            name = f"block_{i}_conv_res"
            shortcut = Conv(channels, 1, padding=0, use_bias=False, layer=self.layer, name=name)
            d = (d + shortcut(r)) / np.float32(np.sqrt(2)).astype(d.dtype)
        return d, new_latents

    def _to_rgb(self, i, x, latents, regions, train, *, plain: bool) -> Array:
        """Maps the output of block i to RGB, modulated first unless it is plain."""
        if not plain:
            modulation = self._modulation("rgb_mod", i, duplex=False)
            x, _ = modulation(x, x.shape[1:3], latents, regions, None, train)
        return Conv(3, 1, padding=0, layer=self.layer, name=f"block_{i}_rgb_conv")(x)
