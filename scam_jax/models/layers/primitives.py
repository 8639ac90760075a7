"""Basic layers and array functions of all networks, equal to PyTorch's in fp32."""

import dataclasses
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.layers import convolution, spectral_norm
from scam_jax.models.layers.initialization import declare

Array = jax.Array


def leaky_relu(x: Array) -> Array:
    """LeakyReLU with slope 0.2, the slope of every LeakyReLU here."""
    return nn.leaky_relu(x, 0.2)


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """How the affine layers of a network compute.

    Attributes:
      dtype: type in which products are computed; parameters are always float32.
      equalized: whether weights are scaled by 1/√fan_in at run time (Karras et al. 2018, section
        4.1).
    """

    dtype: jnp.dtype = jnp.float32
    equalized: bool = False

    def scale(self, kernel: Array, fan_in: int) -> Array:
        """Returns the kernel, divided by √fan_in if layers are equalized."""
        return kernel / np.float32(np.sqrt(fan_in)) if self.equalized else kernel


class AffineParams(nn.Module):
    """The parameters of a linear layer, without its product.

    Callers use them to fold several linear layers into one product before applying it to pixels.
    """

    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, in_features: int, features: int) -> tuple[Array, Array]:
        """Returns the kernel `[in_features, features]` and the bias `[features]`."""
        kernel = self.param("kernel", declare, (in_features, features))
        bias = self.param("bias", declare, (features,))
        kernel = self.layer.scale(kernel, in_features)
        return kernel.astype(self.layer.dtype), bias.astype(self.layer.dtype)


class Linear(nn.Module):
    """Linear layer `[..., in] -> [..., features]`."""

    features: int
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        params = AffineParams(self.layer)
        nn.share_scope(self, params)
        kernel, bias = params(x.shape[-1], self.features)
        return x.astype(self.layer.dtype) @ kernel + bias


class Conv(nn.Module):
    """2-D convolution `[B, H, W, C] -> [B, H', W', features]` with zero padding.

    Attributes:
      features: output channels.
      size: height and width of the kernel.
      stride: stride in both directions.
      padding: pixels of padding on each side.
      use_bias: whether there is a bias.
      groups: number of groups of channels that are convolved separately.
      spectral: whether the kernel is divided by its spectral norm.
      layer: how the layer computes.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    use_bias: bool = True
    groups: int = 1
    spectral: bool = False
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", declare, shape)
        if self.spectral:
            kernel = spectral_norm.normalized(self, kernel)
        kernel = self.layer.scale(kernel, int(np.prod(shape[:3])))
        dtype = self.layer.dtype
        y = convolution.conv2d(
            x.astype(dtype),
            kernel.astype(dtype),
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )
        if self.use_bias:
            y = y + self.param("bias", declare, (self.features,)).astype(dtype)
        return y


def nearest_indices(size: int, new_size: int) -> np.ndarray:
    """Returns the source index of each position of a nearest-neighbour resize.

    The index is floor(i · size / new_size). As in PyTorch, the product is computed in fp32, which
    differs from exact arithmetic at a few sizes.

    Args:
      size: number of source positions.
      new_size: number of positions of the result.

    Returns:
      Source indices `[new_size]`, int32.
    """
    scale = np.float32(size) / np.float32(new_size)
    indices = np.floor(np.arange(new_size, dtype=np.float32) * scale).astype(np.int32)
    return np.minimum(indices, size - 1)


def nearest_resize(x: Array, size: Sequence[int]) -> Array:
    """Resizes `[B, H, W, ...]` to `[B, *size, ...]` by nearest neighbour, as PyTorch does."""
    for axis, new in zip((1, 2), size, strict=True):
        old = x.shape[axis]
        if new == old:
            continue
        if new % old == 0:
            x = jnp.repeat(x, new // old, axis=axis)
        else:
            x = jnp.take(x, nearest_indices(old, new), axis=axis)
    return x


def start_size(height: int, width: int, doublings: int) -> tuple[int, int]:
    """Returns the size (height, width) of a generator's first map.

    The shorter side of the image is divided by 2^doublings, rounded down. The longer side follows
    in proportion, rounded.
    """
    if width < height:
        w = width // 2**doublings
        return round(w * height / width), w
    h = height // 2**doublings
    return h, round(h * width / height)


def sinusoidal_position(height: int, width: int, channels: int) -> Array:
    """Returns the sinusoidal embedding of pixel positions x and y in [-1, 1].

    A program holds it as four small tables, not as a constant of the map's size.

    Args:
      height: height of the map.
      width: width of the map.
      channels: channels of the embedding, divisible by 4.

    Returns:
      `[height, width, channels]`, float32.

    Raises:
      ValueError: channels is not divisible by 4.
    """
    if channels % 4:
        raise ValueError(f"a position embedding needs channels divisible by 4, got {channels}")
    frequency = 10000 ** (-np.arange(0, channels // 2, 2, dtype=np.float32) / (channels // 2))
    x = np.linspace(-1, 1, width, dtype=np.float32)[:, None] * frequency
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * frequency
    tables = [wave(angles) for wave in (np.sin, np.cos) for angles in (x[None], y[:, None])]
    shape = (height, width, channels // 4)
    return jnp.concatenate([jnp.broadcast_to(table, shape) for table in tables], axis=-1)


def _normalize(x: Array, axes: Sequence[int]) -> Array:
    """Normalizes to zero mean and unit (biased) variance over `axes`, in fp32 with eps 1e-5."""
    x32 = x.astype(jnp.float32)
    mean = x32.mean(axes, keepdims=True)
    centred = x32 - mean
    variance = jnp.square(centred).mean(axes, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + 1e-5)).astype(x.dtype)


def instance_norm(x: Array) -> Array:
    """Normalizes `[B, H, W, C]` over H and W, without parameters."""
    return _normalize(x, (1, 2))


def layer_norm(x: Array) -> Array:
    """Normalizes `[B, ...]` over all axes but the first, without parameters."""
    return _normalize(x, tuple(range(1, x.ndim)))


class BatchNorm(nn.Module):
    """Batch norm without affine parameters.

    As in PyTorch, eps is 1e-5, the running averages have momentum 0.1, and the running variance is
    unbiased.

    Attributes:
      axis_name: mesh axis over which devices share their statistics, or None.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Normalizes a map.

        Args:
          x: `[B, H, W, C]`.
          train: whether to use the statistics of the batch and to update the running averages.
            Otherwise, the running averages are used.

        Returns:
          `[B, H, W, C]`.
        """
        shape = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        x32 = x.astype(jnp.float32)
        if not train:
            return ((x32 - mean.value) * jax.lax.rsqrt(variance.value + 1e-5)).astype(x.dtype)
        count = x.size // x.shape[-1]
        shared = self.axis_name is not None and not self.is_initializing()
        mean_over_devices = partial(jax.lax.pmean, axis_name=self.axis_name) if shared else jnp.copy
        if shared:
            count = count * jax.lax.axis_size(self.axis_name)
        batch_mean = mean_over_devices(x32.mean((0, 1, 2)))
        batch_variance = mean_over_devices(jnp.square(x32 - batch_mean).mean((0, 1, 2)))
        if not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * batch_mean
            unbiased = batch_variance * count / max(count - 1, 1)
            variance.value = 0.9 * variance.value + 0.1 * unbiased
        return ((x32 - batch_mean) * jax.lax.rsqrt(batch_variance + 1e-5)).astype(x.dtype)


def materialize(x: Array) -> Array:
    """Returns x `[..., D]` unchanged, and makes XLA compute it only once on CPUs.

    XLA's CPU fusion recomputes cheap elementwise work in every consumer. Along a chain of norms,
    the size of the program then grows with the square of the depth, and it is slow to compile. A
    matrix product with the identity ends the fusion.
    """
    return jax.lax.platform_dependent(
        x, cpu=lambda x: x @ jnp.eye(x.shape[-1], dtype=x.dtype), default=lambda x: x
    )


class TokenNorm(nn.Module):
    """Layer norm over both tokens and channels of `[B, N, D]`, with scale and bias `[N, D]`."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", declare, x.shape[1:])
        bias = self.param("bias", declare, x.shape[1:])
        y = _normalize(materialize(x.astype(jnp.float32)), (1, 2)) * scale + bias
        return y.astype(x.dtype)


def average_pool(image: Array) -> Array:
    """Average-pools `[B, H, W, C]`: 3×3, stride 2, padding 1, the padding not counted."""
    window, strides, padding = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    total = jax.lax.reduce_window(image, 0.0, jax.lax.add, window, strides, padding)
    ones = np.ones((1, *image.shape[1:3], 1), np.float32)
    count = jax.lax.reduce_window(ones, np.float32(0), jax.lax.add, window, strides, padding)
    return total / count
