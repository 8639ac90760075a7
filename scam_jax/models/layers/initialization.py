"""Weight initialization.

Modules only declare the shapes of their parameters, as zeros. The values are drawn here, on the
host, from one seed. A draw depends only on the seed and on the names of network and parameter.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

declare = jax.nn.initializers.zeros
XAVIER_GAIN = 0.02
# Those of `config.model.initialization`.
KINDS = ("pytorch", "xavier")
# Layers that `LayerSpec.equalized` does not touch.
_NEVER_EQUALIZED = ("gaussian",)


def initialize(
    shapes: Any, seed: int, name: str, equalized: bool = False, kind: str = "pytorch"
) -> Any:
    """Draws initial variables of the given shapes.

    Linear layers and convolutions depend on `kind` and `equalized`:

    - 'pytorch': weights and biases are uniform in ±1/√fan_in, PyTorch's default.
    - 'xavier': weights are normal with standard deviation 0.02·√(2/(fan_in + fan_out)) (Glorot and
      Bengio 2010, with SPADE's gain); biases are uniform in ±1/√fan_in.
    - 'lecun', of parsers alone: weights are normal with standard deviation √(1/fan_in) (LeCun et
      al. 1998, section 4.6), and biases are zero.
    - equalized: weights are standard normal and biases zero (Karras et al. 2018, section 4.1).

    Learned latents are standard normal, scales of norms are one, weights of label tables are
    uniform in 0 … 1, and estimates of singular vectors are random directions. Everything else is
    zero.

    Args:
      shapes: `{collection: tree}` of arrays or shapes, as `module.init` returns.
      seed: the run's seed.
      name: the network's name, so that two networks with the same seed get different draws.
      equalized: whether the network's layers are equalized, as in `LayerSpec`.
      kind: 'pytorch', 'xavier' or 'lecun'.

    Returns:
      `{collection: tree}` of float32 arrays.
    """

    def draw(keys, leaf):
        path = [key.key for key in keys]
        salt = zlib.crc32("/".join([name, *path]).encode())
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, salt])))
        equal = equalized and path[-2] not in _NEVER_EQUALIZED
        value = _draw(random, path[-1], _siblings(shapes, path), leaf, equal, kind)
        return value.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _siblings(tree: Any, path: list[str]) -> Mapping[str, Any]:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def _draw(random, name: str, siblings, leaf, equalized: bool, kind: str) -> np.ndarray:
    """Draws one variable; `siblings` are the variables of the same module, by name."""
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
        if kind == "lecun":
            scale = np.sqrt(1 / fan_in) if name == "kernel" else 0.0
            return scale * random.standard_normal(leaf.shape)
        bound = 1 / np.sqrt(fan_in)
        return random.uniform(-bound, bound, leaf.shape)
    return np.zeros(leaf.shape)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns (fan_in, fan_out) of a kernel, or of each layer of a stack `[N, in, out]`."""
    taps = int(np.prod(shape[:-2])) if len(shape) != 3 else 1
    return taps * shape[-2], taps * shape[-1]
