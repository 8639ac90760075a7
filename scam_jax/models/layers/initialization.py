"""How the weights of a network start.

The modules only declare their parameters' shapes (as zeros); the values are drawn here, on the
host, all from one seed. A draw depends on the seed and the parameter's path alone.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

declare = jax.nn.initializers.zeros
XAVIER_GAIN = 0.02
KINDS = ("pytorch", "xavier")


def initialize(
    shapes: Any, seed: int, name: str, equalized: bool = False, kind: str = "pytorch"
) -> Any:
    """Variables of the given shapes.

    By 'pytorch', weights and biases of linear layers and convolutions are uniform in ±1/√fan_in, as
    PyTorch has them by default; by 'xavier', weights are normal with a deviation of
    0.02·√(2/(fan_in + fan_out)) (Glorot and Bengio 2010, with SPADE's gain). Learned latents are
    standard normal, norm scales one, tables of labels uniform in 0 … 1, estimates of singular
    vectors random directions, everything else zero. Equalized: weights standard normal and biases
    zero (Karras et al. 2018, section 4.1).

    Args:
      shapes: `{collection: tree}` of arrays or shapes, as `module.init` gives.
      seed: of the run.
      name: of the network: two networks of one seed get different draws.
      equalized: as the network's `LayerSpec`.
      kind: 'pytorch' or 'xavier'.
    """

    def draw(keys, leaf):
        path = [key.key for key in keys]
        salt = zlib.crc32("/".join([name, *path]).encode())
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, salt])))
        value = _draw(random, path[-1], _siblings(shapes, path), leaf, equalized, kind)
        return value.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _siblings(tree: Any, path: list[str]) -> Mapping[str, Any]:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def _draw(random, name: str, siblings, leaf, equalized: bool, kind: str) -> np.ndarray:
    """One parameter; `siblings` are its module's own, by name."""
    if name in ("scale", "variance"):
        return np.ones(leaf.shape)
    if name == "label_weight":
        return random.uniform(0, 1, leaf.shape)
    if name == "latents" or (name == "kernel" and equalized):
        return random.standard_normal(leaf.shape, np.float32)
    if name in ("u", "v"):
        direction = random.standard_normal(leaf.shape)
        return direction / np.linalg.norm(direction)
    if name in ("kernel", "bias") and "kernel" in siblings and not equalized:
        fan_in, fan_out = _fans(siblings["kernel"].shape)
        if name == "kernel" and kind == "xavier":
            return random.normal(0, XAVIER_GAIN * np.sqrt(2 / (fan_in + fan_out)), leaf.shape)
        bound = 1 / np.sqrt(fan_in)
        return random.uniform(-bound, bound, leaf.shape)
    return np.zeros(leaf.shape)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Of a kernel; a stack of linear layers, `[N, in, out]`, has fans of its own each."""
    taps = int(np.prod(shape[:-2])) if len(shape) != 3 else 1
    return taps * shape[-2], taps * shape[-1]
