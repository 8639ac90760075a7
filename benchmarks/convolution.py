"""How many times XLA's time the convolution saves on a CPU: `python -m benchmarks.convolution`.

XLA's and ours run in turn, the quickest run of each counts; a ratio above 1 is time saved.
"""

import time
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import alternatives, inputs, timing
from scam_jax.models.discriminators.patchgan import PatchGAN
from scam_jax.models.layers import convolution
from scam_jax.training import losses

_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is timed.")

# (batch, height and width, channels, features, size, stride, padding)
SHAPES = {
    "discriminator": [
        (16, 64, 8, 16, 4, 2, 2),
        (16, 33, 16, 32, 4, 2, 2),
        (16, 17, 32, 64, 4, 2, 2),
        (16, 9, 64, 128, 4, 1, 2),
        (16, 10, 128, 1, 4, 1, 2),
    ],
    "discriminator, full": [
        (2, 33, 64, 128, 4, 2, 2),
        (2, 17, 128, 256, 4, 2, 2),
        (2, 9, 256, 512, 4, 1, 2),
    ],
    "generator": [
        (16, 64, 8, 128, 3, 1, 1),
        (16, 64, 16, 16, 3, 1, 1),
        (16, 32, 32, 32, 3, 1, 1),
        (16, 16, 128, 64, 3, 1, 1),
        (16, 8, 128, 128, 3, 1, 1),
        (16, 4, 256, 256, 3, 1, 1),
        (16, 64, 16, 3, 1, 1, 0),
    ],
    "encoder": [
        (16, 64, 3, 16, 3, 2, 1),
        (16, 32, 16, 32, 3, 2, 1),
        (16, 16, 32, 64, 3, 2, 1),
    ],
}
TOY_SHAPES = {"discriminator": [(1, 8, 4, 4, 4, 2, 2)], "generator": [(1, 8, 4, 4, 3, 1, 1)]}


def seconds(make: Callable[[Callable], Callable], *args) -> tuple[list[float], list[float]]:
    """Of XLA's and ours: seconds to compile and seconds a call."""
    compiled, compile_times, run_times = [], [], []
    for conv in (alternatives.xla_conv2d, convolution.conv2d):
        start = time.perf_counter()
        compiled.append(jax.jit(make(conv)).lower(*args).compile())
        compile_times.append(time.perf_counter() - start)
        start = time.perf_counter()
        jax.block_until_ready(compiled[-1](*args))
        run_times.append(time.perf_counter() - start)
    for _ in range(_ROUNDS.value):
        for i, f in enumerate(compiled):
            count = int(np.clip(0.02 / run_times[i], 1, 20))
            start = time.perf_counter()
            for _ in range(count):
                jax.block_until_ready(f(*args))
            run_times[i] = min(run_times[i], (time.perf_counter() - start) / count)
    return compile_times, run_times


def one_convolution(shape: tuple[int, ...]) -> list[list[float]]:
    """Run times (XLA's, ours) of the value, both gradients, and a gradient norm's gradients."""
    batch, extent, channels, features, size, stride, padding = shape
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, extent, extent, channels)).astype(np.float32)
    kernel = random.normal(size=(size, size, channels, features)).astype(np.float32)
    out = (extent + 2 * padding - size) // stride + 1
    weights = jnp.asarray(random.normal(size=(batch, out, out, features)), np.float32)

    def value(conv):
        return lambda x, kernel, weights: conv(x, kernel, stride=stride, padding=padding)

    def to_image(conv):
        return lambda x, kernel, g: jax.vjp(lambda x: value(conv)(x, kernel, g), x)[1](g)

    def to_kernel(conv):
        return lambda x, kernel, g: jax.vjp(lambda k: value(conv)(x, k, g), kernel)[1](g)

    def second_order(conv):
        def norm(x, kernel, g):
            return jnp.sqrt(jnp.square(to_image(conv)(x, kernel, g)[0]).sum())

        return jax.grad(norm, argnums=(1, 2))

    makers = (value, to_image, to_kernel, second_order)
    return [seconds(make, x, kernel, weights)[1] for make in makers]


def discriminator_gradient(features: int, in_branch: bool) -> tuple[list[float], list[float]]:
    """Compile and run times of the parameters' gradient of a gradient-normalised hinge loss."""
    batch, size = (1, 16) if inputs.TOY.value else (16, 64)
    module = PatchGAN(features, num_layers=2 if inputs.TOY.value else 4)
    random = np.random.default_rng(0)
    image = jnp.asarray(random.normal(size=(batch, size, size, 3)), jnp.float32)
    one_hot = jax.nn.one_hot(random.integers(0, 5, (batch, size, size)), 5)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((batch, size, size, 8)))
    params = jax.tree.map(lambda a: 0.05 * random.normal(size=a.shape).astype(np.float32), shapes)

    def make(conv):
        def loss(params):
            def discriminate(image, one_hot, scale):
                return module.apply(params, jnp.concatenate([image, one_hot], -1))

            logits, _ = losses.gradient_normalized(discriminate, image, one_hot, 0)
            return losses.hinge_real([logits])

        def gradient(params, step):
            with mock.patch.object(convolution, "conv2d", conv):
                if not in_branch:
                    return jax.grad(loss)(params)
                return jax.lax.cond(step == 0, jax.grad(loss), lambda p: p, params)

        return gradient

    return seconds(make, params, jnp.int32(0))


def main(argv: list[str]) -> None:
    print(timing.heading("python -m benchmarks.convolution"))
    print("XLA's time / ours (ours in ms)\n")
    print("| network | B, H=W, C, D, k, stride, pad | value | to image | to kernel | 2nd order |")
    print("|---|---|---|---|---|---|")
    for network, shapes in (TOY_SHAPES if inputs.TOY.value else SHAPES).items():
        for shape in shapes:
            times = one_convolution(shape)
            cells = [f"{xla / ours:.2f} ({1e3 * ours:.2f})" for xla, ours in times]
            print(f"| {network} | {', '.join(map(str, shape))} | {' | '.join(cells)} |", flush=True)
    print()
    print("| gradient-normalised PatchGAN, B=16, 64×64 | XLA ms | ours ms | ratio | compile s |")
    print("|---|---|---|---|---|")
    for features, in_branch in ((16, False), (32, False), (16, True)):
        compiling, (xla, ours) = discriminator_gradient(features, in_branch)
        name = f"features {features}" + (", in a branch" if in_branch else "")
        compile_cell = f"{compiling[0]:.1f} → {compiling[1]:.1f}"
        run_cells = f"{1e3 * xla:.0f} | {1e3 * ours:.0f} | {xla / ours:.1f}"
        print(f"| {name} | {run_cells} | {compile_cell} |", flush=True)


if __name__ == "__main__":
    app.run(main)
