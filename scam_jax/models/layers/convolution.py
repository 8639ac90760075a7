"""2-D convolution whose gradients, of any order, are quick on CPUs too.

The value, the gradient in the image and the gradient in the kernel are three bilinear maps, and
every derivative of one is another of them. Differentiated so, gradients of gradients are made of
these three alone; XLA's derivatives of derivatives fall to convolutions that its CPU backend runs
as plain loops. Reverse mode only: `jax.jvp` of a convolution is an error.
"""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Pads = tuple[tuple[int, int], tuple[int, int]]

_SMALL_CHANNELS = 16
_FEW_GROUPS = 16


class _Geometry(NamedTuple):
    """What the operands' shapes do not tell."""

    size: int
    stride: int
    padding: int
    height: int
    width: int

    @property
    def pads(self) -> Pads:
        return ((self.padding, self.padding),) * 2

    def span(self, positions: int) -> int:
        """The extent that so many kernel positions reach over."""
        return (positions - 1) * self.stride + self.size


def conv2d(x: Array, kernel: Array, *, stride: int, padding: int, groups: int = 1) -> Array:
    """`[B, H, W, C]` with kernel `[k, k, C/groups, D]`, zero padding, to `[B, H', W', D]`."""
    if groups > 1:
        return _grouped(x, kernel, stride, padding, groups)
    return _convolve(_Geometry(kernel.shape[0], stride, padding, *x.shape[1:3]), x, kernel)


def conv2d_transpose(
    x: Array, kernel: Array, *, stride: int, padding: int, size: tuple[int, int]
) -> Array:
    """`[B, h, w, D]` to `[B, *size, C]`: the transpose of `conv2d` with kernel `[k, k, C, D]`."""
    return _to_image(_Geometry(kernel.shape[0], stride, padding, *size), x, kernel)


def _grouped(x: Array, kernel: Array, stride: int, padding: int, groups: int) -> Array:
    """XLA's, which on a CPU is a plain loop.

    There, few groups are one convolution with zeros in its kernel, many a product for each kernel
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
        total = 0
        for i, j in itertools.product(range(size), repeat=2):
            rows = slice(i, i + (height - 1) * stride + 1, stride)
            columns = slice(j, j + (width - 1) * stride + 1, stride)
            total += jnp.einsum("bhwgc,cgd->gbhwd", x[:, rows, columns], kernel[i, j])
        return total.transpose(1, 2, 3, 0, 4).reshape(len(x), height, width, -1)

    on_cpu = with_zeros if groups <= _FEW_GROUPS else by_position
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=by_xla)


# The three bilinear maps, of x [B, H, W, C], kernel [k, k, C, D] and a cotangent g [B, H', W', D].


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    return _xla(x, kernel, geometry.stride, geometry.pads)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _to_image(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """The transpose in x: `[B, H, W, C]`."""
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
    """The transpose in the kernel: `[k, k, C, D]`."""
    shape = (geometry.size, geometry.size, x.shape[3], g.shape[3])
    # patches smaller than the cotangent cost less than the transposed cotangent of a convolution
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


# How they are computed.


def _xla(
    x: Array, kernel: Array, stride: int, pads: Pads, x_step: int = 1, kernel_step: int = 1
) -> Array:
    """XLA's convolution, operands spread out with steps between their pixels.

    Only in these dimension numbers is it quick wherever it stands in a program on a CPU: XLA
    brings others to them in the entry computation, but not in branches and loops.
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
    """The cotangent spread by the stride, convolved with the turned kernel."""
    size, stride, padding, *image = geometry
    before = size - 1 - padding
    pads = tuple(
        (before, n - geometry.span(m) + size - 1 + padding)
        for n, m in zip(image, g.shape[1:3], strict=True)
    )
    return _xla(g, kernel[::-1, ::-1].swapaxes(2, 3), 1, pads, x_step=stride)


def _to_image_in_phases(geometry: _Geometry, g: Array, kernel: Array) -> Array:
    """The s² pixels of a step as channels, at the cotangent's resolution: no zeros multiplied."""
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
    """The image convolved with the cotangent, channels and samples exchanged."""
    # the larger is the image: XLA exchanges a larger kernel with it, which no quick routine takes
    if geometry.stride == 1 and g.shape[1] * g.shape[2] > x.shape[1] * x.shape[2]:
        pads = ((geometry.size - 1 - geometry.padding,) * 2,) * 2
        turned = _xla(g.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3), 1, pads)
        return turned[:, ::-1, ::-1].transpose(1, 2, 3, 0)
    y = _xla(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        1,
        _pads_to_span(geometry, g),
        kernel_step=geometry.stride,
    )
    return y.transpose(1, 2, 0, 3)


def _to_kernel_by_patches(geometry: _Geometry, x: Array, g: Array) -> Array:
    """One product of all k×k patches with the cotangent, at stride 1."""
    size, rows, columns = geometry.size, *g.shape[1:3]
    x = _zero_pad(x, _pads_to_span(geometry, g))
    for axis, length in ((2, columns), (1, rows)):
        shifts = [jax.lax.slice_in_dim(x, i, i + length, axis=axis) for i in range(size)]
        x = jnp.concatenate(shifts, axis=-1)
    kernel = jnp.einsum("bhwc,bhwd->cd", x, g)
    return kernel.reshape(size, size, -1, g.shape[3])


def _pads_to_span(geometry: _Geometry, g: Array) -> Pads:
    """Padding of x to what its kernel positions reach over; negative where that ends before it."""
    image = (geometry.height, geometry.width)
    return tuple(
        (geometry.padding, geometry.span(m) - n - geometry.padding)
        for n, m in zip(image, g.shape[1:3], strict=True)
    )


def _zero_pad(x: Array, pads: Pads) -> Array:
    config = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), config)
