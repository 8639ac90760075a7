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


def initialize(shapes: Any, seed: int, name: str, equalized: bool = False) -> Any:
    """Variables of the given shapes, with PyTorch's default distributions.

    Weights and biases of linear layers and convolutions are uniform in ±1/√fan_in, learned latents
    standard normal, norm scales one, everything else zero. Equalized: weights standard normal and
    biases zero (Karras et al. 2018, section 4.1).

    Args:
      shapes: `{collection: tree}` of arrays or shapes, as `module.init` gives.
      seed: of the run.
      name: of the network: two networks of one seed get different draws.
      equalized: as the network's `LayerSpec`.
    """

    def draw(keys, leaf):
        path = [key.key for key in keys]
        salt = zlib.crc32("/".join([name, *path]).encode())
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, salt])))
        return _draw(random, path[-1], _siblings(shapes, path), leaf, equalized)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _siblings(tree: Any, path: list[str]) -> Mapping[str, Any]:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def _draw(random, leaf_name: str, siblings, leaf, equalized: bool) -> np.ndarray:
    """One parameter; `siblings` are its module's own, by name."""
    prefix, _, kind = leaf_name.rpartition("_")
    kernel = siblings.get(f"{prefix}_kernel" if prefix else "kernel")
    if leaf_name == "latents" or (kind == "kernel" and equalized):
        return random.standard_normal(leaf.shape, np.float32)
    if leaf_name in ("scale", "variance"):
        return np.ones(leaf.shape, np.float32)
    if kind in ("kernel", "bias") and kernel is not None and not equalized:
        # a stack of linear layers, [N, in, out], has a fan of its own each
        fan_in = kernel.shape[1] if len(kernel.shape) == 3 else np.prod(kernel.shape[:-1])
        bound = 1 / np.sqrt(fan_in)
        return random.uniform(-bound, bound, leaf.shape).astype(np.float32)
    return np.zeros(leaf.shape, np.float32)
