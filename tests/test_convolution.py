"""The convolution and its gradients equal XLA's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.closeness import assert_close, assert_trees_close
from jax.sharding import PartitionSpec

from scam_jax.models.layers.convolution import conv2d

GEOMETRIES = [(3, 1, 1), (3, 2, 1), (4, 2, 2), (4, 1, 2), (1, 1, 0), (1, 2, 0)]
TOLERANCE = 1e-5


def xla_conv2d(x, kernel, *, stride, padding):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def operands(size, *, height, width, channels, features, dtype=jnp.float32):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, height, width, channels))
    kernel = random.normal(size=(size, size, channels, features))
    return jnp.asarray(x, dtype), jnp.asarray(kernel / np.sqrt(size**2 * channels), dtype)


def value_and_gradients(conv, x, kernel):
    """The value, its gradients, and the gradients of a norm of its gradients."""

    def loss(x, kernel):
        return jnp.sum(jnp.sin(conv(x, kernel).astype(jnp.float32)))

    def gradient_norm(x, kernel):
        return sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1))(x, kernel))

    return (
        conv(x, kernel),
        jax.grad(loss, (0, 1))(x, kernel),
        jax.grad(gradient_norm, (0, 1))(x, kernel),
    )


def both(stride, padding):
    return (partial(f, stride=stride, padding=padding) for f in (conv2d, xla_conv2d))


# Channels and features choose among the ways of computing a gradient.
@pytest.mark.parametrize(
    ("height", "width", "channels", "features"),
    [(17, 12, 3, 48), (13, 25, 20, 6)],
)
@pytest.mark.parametrize(("size", "stride", "padding"), GEOMETRIES)
def test_equals_xla(size, stride, padding, height, width, channels, features):
    args = operands(size, height=height, width=width, channels=channels, features=features)
    ours, xla = (jax.jit(partial(value_and_gradients, conv)) for conv in both(stride, padding))
    assert_trees_close(ours(*args), xla(*args), of_largest=TOLERANCE)


@pytest.mark.parametrize(("size", "stride", "padding"), [(4, 2, 2), (4, 1, 2)])
def test_third_order(size, stride, padding):
    args = operands(size, height=9, width=7, channels=3, features=4)

    def third(conv):
        def f(x, kernel):
            return sum(jnp.sum(g) for g in value_and_gradients(conv, x, kernel)[2])

        return jax.jit(jax.grad(f, (0, 1)))(*args)

    ours, xla = (third(conv) for conv in both(stride, padding))
    assert_trees_close(ours, xla, of_largest=TOLERANCE)


def test_on_accelerators(monkeypatch):
    """What other platforms than CPUs compute, computed here."""

    def choose(*args, cpu, default):
        return default(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", choose)
    args = operands(4, height=13, width=10, channels=3, features=5)
    ours, xla = (jax.jit(partial(value_and_gradients, conv)) for conv in both(2, 2))
    assert_trees_close(ours(*args), xla(*args), of_largest=TOLERANCE)


def test_bfloat16():
    """As near to fp32 as half precision is, and gradients of the operands' type."""
    args = operands(4, height=33, width=25, channels=3, features=8, dtype=jnp.bfloat16)
    conv, _ = both(2, 2)
    y, vjp = jax.vjp(conv, *args)
    gradients = vjp(jnp.ones_like(y))
    exact, exact_vjp = jax.vjp(conv, *(a.astype(jnp.float32) for a in args))
    assert {a.dtype for a in (y, *gradients)} == {jnp.dtype(jnp.bfloat16)}
    assert_close(y, exact, of_largest=1e-2)
    assert_trees_close(gradients, exact_vjp(jnp.ones_like(exact)), of_largest=1e-2)


@pytest.mark.parametrize("kernels", [None, 0], ids=["one_kernel", "a_kernel_each"])
def test_vmap(kernels):
    x, kernel = operands(4, height=9, width=12, channels=3, features=5)
    x = jnp.stack([x, 2 * x, -x])
    if kernels == 0:
        kernel = jnp.stack([kernel, kernel + 1, -kernel])
    ours, xla = (
        jax.jit(jax.vmap(partial(value_and_gradients, conv), (0, kernels)))(x, kernel)
        for conv in both(2, 2)
    )
    assert_trees_close(ours, xla, of_largest=TOLERANCE)


def test_in_a_branch_in_a_loop_and_rematerialized():
    args = operands(4, height=9, width=12, channels=3, features=3)
    conv, _ = both(1, 2)

    def looped(x, kernel):
        def body(carry, _):
            y = jax.checkpoint(value_and_gradients, static_argnums=0)(conv, x + carry, kernel)
            return jax.lax.cond(carry < 1, lambda: carry, lambda: carry + 1), y

        return jax.lax.scan(body, 0.0, length=1)[1]

    expected = value_and_gradients(conv, *args)
    ours = jax.tree.map(lambda y: y[0], jax.jit(looped)(*args))
    assert_trees_close(ours, expected, of_largest=TOLERANCE)


def test_sharded():
    """Each device its samples, the kernel everywhere: as the training step does."""
    x, kernel = operands(3, height=9, width=12, channels=3, features=5)
    conv, _ = both(2, 1)
    halves = [value_and_gradients(conv, half, kernel) for half in jnp.split(x, 2)]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *halves)

    def of_device(x, kernel):
        return jax.tree.map(lambda y: y[None], value_and_gradients(conv, x, kernel))

    sharded = jax.jit(
        jax.shard_map(
            of_device,
            mesh=jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",)),
            in_specs=(PartitionSpec("data"), PartitionSpec()),
            out_specs=PartitionSpec("data"),
            check_vma=False,
        )
    )
    assert_trees_close(sharded(x, kernel), stacked, of_largest=TOLERANCE)
