"""Other ways to compute the same, to be compared with: each a context to build a program in."""

import contextlib
from unittest import mock

import jax

from scam_jax.models.layers import convolution
from scam_jax.models.scam import attention, region_products, region_spaces


def plain_attention():
    """As the paper writes it: pixels are projected, every pixel meets every latent."""

    def gather(self, latents, pixels, found, layout):
        mask = attention.same_label(layout.owners[None], found.labels)
        return self(latents, pixels, mask)

    def look_up(self, pixels, latents, found, layout, then):
        mask = attention.same_label(found.labels, layout.owners[None])
        attended = self(pixels, latents, mask)
        return [attended @ kernel + bias for kernel, bias in then]

    return mock.patch.multiple(attention.MaskedAttention, gather=gather, look_up=look_up)


def dense_regions():
    """Projections folded into the latents; products with all latents, then a pick by the label."""
    return _in_space(lambda found: region_spaces.Dense)


def tiled_regions():
    """Projections folded into the latents; pixels sorted into tiles of one label."""

    return _in_space(
        lambda found: region_spaces.Dense if found.tiles is None else region_spaces.Tiled
    )


def _in_space(choose):
    def dispatch(found, formula, *operands):
        return formula(choose(found)(found), *operands)

    return mock.patch.object(region_products, "dispatch", dispatch)


def xla_conv2d(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: int, groups: int = 1
) -> jax.Array:
    """Computes what `convolution.conv2d` does with XLA's convolution and XLA's derivatives."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def xla_convolution():
    """XLA's own convolution and its derivatives, of any order."""
    return mock.patch.object(convolution, "conv2d", xla_conv2d)


def both(*contexts):
    stack = contextlib.ExitStack()
    for context in contexts:
        stack.enter_context(context)
    return stack


ours = contextlib.nullcontext
