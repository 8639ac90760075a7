"""Layers and array functions that every network here is made of, equal to PyTorch's in fp32."""

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
    """LeakyReLU of slope 0.2, the only one in SCAM."""
    return nn.leaky_relu(x, 0.2)


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """How every affine layer of a network computes.

    Attributes:
      dtype: compute type of products; parameters are always fp32.
      equalized: weights are scaled by 1/sqrt(fan_in) at run time (Karras et al. 2018, section 4.1).
    """

    dtype: jnp.dtype = jnp.float32
    equalized: bool = False

    def scale(self, kernel: Array, fan_in: int) -> Array:
        return kernel / np.float32(np.sqrt(fan_in)) if self.equalized else kernel


class AffineParams(nn.Module):
    """The kernel `[in_features, features]` and bias `[features]` of a linear layer, unapplied.

    For callers that fold several linear layers into one product before touching many pixels.
    """

    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, in_features: int, features: int) -> tuple[Array, Array]:
        kernel = self.param("kernel", declare, (in_features, features))
        bias = self.param("bias", declare, (features,))
        kernel = self.layer.scale(kernel, in_features)
        return kernel.astype(self.layer.dtype), bias.astype(self.layer.dtype)


class Linear(nn.Module):
    """`[..., in] -> [..., features]`."""

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
      groups: parts of the channels that do not see each other, in and out.
      spectral: the kernel is divided by its spectral norm.
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
    """Source index of each of `new_size` positions: floor(i * size / new_size), in fp32.

    PyTorch's nearest interpolation does this product in fp32; the rare sizes at which that differs
    from exact arithmetic follow PyTorch.
    """
    scale = np.float32(size) / np.float32(new_size)
    indices = np.floor(np.arange(new_size, dtype=np.float32) * scale).astype(np.int32)
    return np.minimum(indices, size - 1)


def nearest_resize(x: Array, size: tuple[int, int]) -> Array:
    """Nearest resize of axes 1 and 2 (`[B, H, W, ...]`) to `size`, PyTorch's source indices."""
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
    """Size of a generator's first map: the shorter side over 2^doublings, and in proportion."""
    if width < height:
        w = width // 2**doublings
        return round(w * height / width), w
    h = height // 2**doublings
    return h, round(h * width / height)


def sinusoidal_position(height: int, width: int, channels: int) -> np.ndarray:
    """`[height, width, channels]` sinusoidal embedding of x and y in [-1, 1].

    Raises:
      ValueError: channels is not divisible by 4.
    """
    if channels % 4:
        raise ValueError(f"a position needs channels divisible by 4, got {channels}")
    frequency = 10000 ** (-np.arange(0, channels // 2, 2, dtype=np.float32) / (channels // 2))
    x = np.linspace(-1, 1, width, dtype=np.float32)[:, None] * frequency
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * frequency
    shape = (height, width, channels // 4)
    angles = np.concatenate(
        [np.broadcast_to(x[None], shape), np.broadcast_to(y[:, None], shape)], axis=-1
    )
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)


def _normalize(x: Array, axes: Sequence[int]) -> Array:
    """Zero mean, unit biased variance over `axes`, in fp32, eps 1e-5."""
    x32 = x.astype(jnp.float32)
    mean = x32.mean(axes, keepdims=True)
    centred = x32 - mean
    variance = jnp.square(centred).mean(axes, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + 1e-5)).astype(x.dtype)


def instance_norm(x: Array) -> Array:
    """Per sample and channel over H×W of `[B, H, W, C]`, no parameters."""
    return _normalize(x, (1, 2))


def layer_norm(x: Array) -> Array:
    """Per sample over every other axis, no parameters."""
    return _normalize(x, tuple(range(1, x.ndim)))


class BatchNorm(nn.Module):
    """Batch norm without affine parameters, statistics shared over the devices of `axis_name`.

    As PyTorch's: eps 1e-5, running average weight 0.1, unbiased running variance.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
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
    """`x [..., D]` itself, computed once.

    XLA's CPU fusion recomputes cheap elementwise work in every consumer: through a chain of norms
    that makes programs quadratic in depth, and slow to compile. A product ends the fusion.
    """
    return jax.lax.platform_dependent(
        x, cpu=lambda x: x @ jnp.eye(x.shape[-1], dtype=x.dtype), default=lambda x: x
    )


class TokenNorm(nn.Module):
    """Layer norm over tokens *and* channels of `[B, N, D]`, with `[N, D]` scale and bias."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", declare, x.shape[1:])
        bias = self.param("bias", declare, x.shape[1:])
        y = _normalize(materialize(x.astype(jnp.float32)), (1, 2)) * scale + bias
        return y.astype(x.dtype)


def average_pool(image: Array) -> Array:
    """3×3 average pool of `[B, H, W, C]`, stride 2, padding 1, padding not counted."""
    window, strides, padding = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    total = jax.lax.reduce_window(image, 0.0, jax.lax.add, window, strides, padding)
    ones = np.ones((1, *image.shape[1:3], 1), np.float32)
    count = jax.lax.reduce_window(ones, np.float32(0), jax.lax.add, window, strides, padding)
    return total / count
