"""Weights that golden files do not store: drawn by their PyTorch names, as the files define."""

import zlib

import jax
import numpy as np

from scam_jax.weights import convert
from scam_jax.weights.torch_names import Names, torch_name


def image(shape: tuple[int, ...]) -> np.ndarray:
    """The images of those files, `[B, H, W, 3]` of a shape `[B, 3, H, W]`."""
    drawn = np.random.RandomState(11).uniform(-1, 1, shape).astype(np.float32)
    return drawn.transpose(0, 2, 3, 1)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight by its name and shape in PyTorch."""
    r = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("noise_var"):
        return np.zeros(shape, np.float32)
    if name == "latents":
        return r
    if ".ln_1.weight" in name or ".ln_2.weight" in name:
        return 1 + np.float32(0.1) * r
    if len(shape) >= 2:
        return r / np.float32(np.sqrt(np.prod(shape[1:])))
    return np.float32(0.1) * r


def torch_shape(leaf_name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if leaf_name != "kernel":
        return shape
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def state_dict(shapes, names: Names) -> dict[str, np.ndarray]:
    """All parameters of `{collection: tree}` under their names in PyTorch."""
    result = {}
    spectral = jax.tree_util.tree_leaves_with_path(shapes.get("spectral", {}))
    normalized = {tuple(key.key for key in keys)[:-1] for keys, _ in spectral}

    def add(keys, leaf):
        path = tuple(key.key for key in keys)
        name, shape = torch_name(path, names), leaf.shape
        if "{i}" in name:
            stack = [name.format(i=i) for i in range(shape[0])]
            result.update({n: drawn(n, torch_shape(path[-1], shape[1:])) for n in stack})
            return
        if path[-1] == "kernel" and path[:-1] in normalized:
            name += "_orig"
        result[name] = drawn(name, torch_shape(path[-1], shape))

    jax.tree_util.tree_map_with_path(add, shapes["params"])
    return result


def variables(shapes, names: Names, state: dict[str, np.ndarray] | None = None):
    """A network's variables: parameters by rule, other collections of `state`."""
    return convert.from_torch({**state_dict(shapes, names), **(state or {})}, shapes, names)
