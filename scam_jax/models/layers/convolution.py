"""2-D convolution whose gradients, of any order, are fast on CPUs too.

The value, the gradient with respect to the image and the gradient with respect to the kernel are
three bilinear maps, and the derivatives of each are again among the three. Custom derivatives here
express gradients of gradients by these three maps alone. Without them, XLA's second derivatives are
convolutions that its CPU backend runs as plain loops. Only reverse mode is supported: `jax.jvp` of
a convolution raises an error.
"""

import itertools
import operator
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Pads = tuple[tuple[int, int], ...]

# Limits up to which a faster algorithm is used on CPUs, see `_to_image` and `_grouped`.
_SMALL_CHANNELS = 16
_FEW_GROUPS = 16


class _Geometry(NamedTuple):
    """The parameters of a convolution that the shapes of two operands do not determine.

    Attributes:
      size: height and width of the kernel.
      stride: stride in both directions.
      padding: pixels of padding on each side.
      height, width: size of the image.
    """

    size: int
    stride: int
    padding: int
    height: int
    width: int

    @property
    def pads(self) -> Pads:
        return ((self.padding, self.padding),) * 2

    def span(self, positions: int) -> int:
        """Returns the number of pixels that `positions` consecutive kernel positions cover."""
        return (positions - 1) * self.stride + self.size


def conv2d(x: Array, kernel: Array, *, stride: int, padding: int, groups: int = 1) -> Array:
    """Convolves images with zero padding.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[k, k, C/groups, D]`.
      stride: stride in both directions.
      padding: pixels of padding on each side.
      groups: number of groups of channels that are convolved separately.

    Returns:
      `[B, H', W', D]`.
    """
    if groups > 1:
        return _grouped(x, kernel, stride, padding, groups)
    return _convolve(_Geometry(kernel.shape[0], stride, padding, *x.shape[1:3]), x, kernel)


def conv2d_transpose(
    x: Array, kernel: Array, *, stride: int, padding: int, size: tuple[int, int]
) -> Array:
    """Applies the transpose of `conv2d`.

    Args:
      x: `[B, h, w, D]`.
      kernel: the kernel of `conv2d`, `[k, k, C, D]`.
      stride: stride of `conv2d`.
      padding: padding of `conv2d`.
      size: height and width of the result.

    Returns:
      `[B, *size, C]`.
    """
    return _to_image(_Geometry(kernel.shape[0], stride, padding, *size), x, kernel)


def _grouped(x: Array, kernel: Array, stride: int, padding: int, groups: int) -> Array:
    """Convolves groups of channels separately.

    XLA's grouped convolution is a plain loop on CPUs. There, a few groups are computed by one
    convolution whose kernel is 0 between groups, and many groups by one product per kernel
    position.
    """

    def by_xla(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((padding, padding),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    def with_zeros(x, kernel):
        size, _, channels, features = kernel.shape
        own = jnp.eye(groups, dtype=kernel.dtype)
        kernel = kernel.reshape(size, size, channels, groups, -1)
        kernel = jnp.einsum("yxcgd,hg->yxhcgd", kernel, own)
        kernel = kernel.reshape(size, size, groups * channels, features)
        return conv2d(x, kernel, stride=stride, padding=padding)

    def by_position(x, kernel):
        size = kernel.shape[0]
        height, width = ((n + 2 * padding - size) // stride + 1 for n in x.shape[1:3])
        x = _zero_pad(x, ((padding, padding),) * 2)
        x = x.reshape(*x.shape[:3], groups, -1)
        kernel = kernel.reshape(*kernel.shape[:3], groups, -1)

        def product(i, j):
            rows = slice(i, i + (height - 1) * stride + 1, stride)
            columns = slice(j, j + (width - 1) * stride + 1, stride)
            return jnp.einsum("bhwgc,cgd->gbhwd", x[:, rows, columns], kernel[i, j])

        positions = itertools.product(range(size), repeat=2)
        total = reduce(operator.add, itertools.starmap(product, positions))
        return total.transpose(1, 2, 3, 0, 4).reshape(x.shape[0], height, width, -1)

    on_cpu = with_zeros if groups <= _FEW_GROUPS else by_position
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=by_xla)


# The three bilinear maps of image x [B, H, W, C], kernel [k, k, C, D], cotangent g [B, H', W', D].


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    """Maps x and kernel to `[B, H', W', D]`."""
    return _xla(x, kernel, geometry.stride, geometry.pads)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _to_image(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """Maps g and kernel to `[B, H, W, C]`: the transpose of `_convolve` in x."""
    shape = (g.shape[0], geometry.height, geometry.width, kernel.shape[2])
    phased = (
        geometry.stride > 1
        and geometry.size % geometry.stride == 0
        and kernel.shape[2] <= _SMALL_CHANNELS
    )

    def by_xla(g, kernel):
        conv = partial(_xla, kernel=kernel, stride=geometry.stride, pads=geometry.pads)
        return jax.linear_transpose(conv, jax.ShapeDtypeStruct(shape, g.dtype))(g)[0]

    on_cpu = partial(_to_image_in_phases if phased else _to_image_dilated, geometry)
    return jax.lax.platform_dependent(g, kernel, cpu=on_cpu, default=by_xla)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _to_kernel(geometry: _Geometry, x: Array, g: Array) -> Array:
    """Maps x and g to `[k, k, C, D]`: the transpose of `_convolve` in the kernel."""
    shape = (geometry.size, geometry.size, x.shape[3], g.shape[3])
    # where patches are smaller than the cotangent, they cost less than transposing it
    by_patches = geometry.stride == 1 and (geometry.size == 1 or np.prod(shape[:3]) <= shape[3])

    def by_xla(x, g):
        conv = partial(_xla, x, stride=geometry.stride, pads=geometry.pads)
        return jax.linear_transpose(conv, jax.ShapeDtypeStruct(shape, x.dtype))(g)[0]

    on_cpu = partial(_to_kernel_by_patches if by_patches else _to_kernel_convolved, geometry)
    return jax.lax.platform_dependent(x, g, cpu=on_cpu, default=by_xla)


def _keep_operands(f):
    return lambda geometry, a, b: (f(geometry, a, b), (a, b))


_convolve.defvjp(
    _keep_operands(_convolve),
    lambda geo, xk, g: (_to_image(geo, g, xk[1]), _to_kernel(geo, xk[0], g)),
)
_to_image.defvjp(
    _keep_operands(_to_image),
    lambda geo, gk, x: (_convolve(geo, x, gk[1]), _to_kernel(geo, x, gk[0])),
)
_to_kernel.defvjp(
    _keep_operands(_to_kernel),
    lambda geo, xg, kernel: (_to_image(geo, xg[1], kernel), _convolve(geo, xg[0], kernel)),
)


# Algorithms for the three maps.


def _xla(
    x: Array, kernel: Array, stride: int, pads: Pads, x_step: int = 1, kernel_step: int = 1
) -> Array:
    """Calls XLA's convolution; `x_step` and `kernel_step` dilate its operands.

    On CPUs, only these dimension numbers are fast everywhere. XLA converts others to them in the
    entry computation of a program, but not in branches and loops.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        lhs_dilation=(x_step, x_step),
        rhs_dilation=(kernel_step, kernel_step),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _to_image_dilated(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """Convolves the cotangent, dilated by the stride, with the flipped kernel."""
    size, stride, padding, *image = geometry
    before = size - 1 - padding
    pads = tuple(
        (before, n - geometry.span(m) + size - 1 + padding)
        for n, m in zip(image, g.shape[1:3], strict=True)
    )
    return _xla(g, kernel[::-1, ::-1].swapaxes(2, 3), 1, pads, x_step=stride)


def _to_image_in_phases(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """Computes the s² pixels of a stride s as channels at the cotangent's size.

    Unlike the dilated convolution, this multiplies no zeros.
    """
    size, stride, padding, height, width = geometry
    channels, features = kernel.shape[2:]
    taps = size // stride
    phases = kernel.reshape(taps, stride, taps, stride, channels, features)
    phases = phases[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(taps, taps, features, -1)
    y = _xla(g, phases, 1, ((taps - 1, taps - 1),) * 2)
    batch, rows, columns, _ = y.shape
    y = y.reshape(batch, rows, columns, stride, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(batch, rows * stride, columns * stride, channels)
    ends = (height + padding - y.shape[1], width + padding - y.shape[2])
    return _zero_pad(y, ((-padding, ends[0]), (-padding, ends[1])))


def _to_kernel_convolved(geometry: _Geometry, x: Array, g: Array) -> Array:
    """Convolves the image with the cotangent, with channels and examples exchanged."""
    # the larger operand is the image: XLA would swap a larger kernel with it and lose the fast path
    if geometry.stride == 1 and g.shape[1] * g.shape[2] > x.shape[1] * x.shape[2]:
        pads = ((geometry.size - 1 - geometry.padding,) * 2,) * 2
        flipped = _xla(g.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3), 1, pads)
        return flipped[:, ::-1, ::-1].transpose(1, 2, 3, 0)
    y = _xla(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        1,
        _pads_to_span(geometry, g),
        kernel_step=geometry.stride,
    )
    return y.transpose(1, 2, 0, 3)


def _to_kernel_by_patches(geometry: _Geometry, x: Array, g: Array) -> Array:
    """Multiplies all k×k patches of the image by the cotangent in one product, at stride 1."""
    size, rows, columns = geometry.size, *g.shape[1:3]
    x = _zero_pad(x, _pads_to_span(geometry, g))
    for axis, length in ((2, columns), (1, rows)):
        shifts = [jax.lax.slice_in_dim(x, i, i + length, axis=axis) for i in range(size)]
        x = jnp.concatenate(shifts, axis=-1)
    kernel = jnp.einsum("bhwc,bhwd->cd", x, g)
    return kernel.reshape(size, size, -1, g.shape[3])


def _pads_to_span(geometry: _Geometry, g: Array) -> Pads:
    """Returns the padding of x to the pixels that the kernel covers; negative values crop x."""
    image = (geometry.height, geometry.width)
    return tuple(
        (geometry.padding, geometry.span(m) - n - geometry.padding)
        for n, m in zip(image, g.shape[1:3], strict=True)
    )


def _zero_pad(x: Array, pads: Pads) -> Array:
    config = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), config)
