"""2-D convolution."""

import jax


def conv2d(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    """`[B, H, W, C]` with kernel `[k, k, C, D]`, zero padding, to `[B, H', W', D]`."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
