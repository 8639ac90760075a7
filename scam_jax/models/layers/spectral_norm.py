"""Spectral norm: kernels divided by their largest singular value (Miyato et al. 2018).

The estimates of the singular vectors form the collection `spectral`. Layers only read them. They
depend on the kernels alone, so a training step advances all estimates of a network at once, before
its forward passes. Evaluation does not change them.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
COLLECTION = "spectral"


def normalized(module: nn.Module, kernel: Array) -> Array:
    """Divides a module's kernel by the estimate of its largest singular value, σ = uᵀWv.

    Args:
      module: the module that holds the variables u and v.
      kernel: its kernel W, `[k, k, C, D]`.

    Returns:
      The normalized kernel, `[k, k, C, D]`.
    """
    u = module.variable(COLLECTION, "u", jnp.zeros, kernel.shape[3:]).value
    v = module.variable(COLLECTION, "v", jnp.zeros, kernel.shape[:3]).value
    # not a matrix product, which is less precise than fp32 on accelerators
    return kernel / jnp.sum(kernel * v[..., None] * u)


def advance(params: Mapping[str, Any], spectral: Mapping[str, Any]) -> dict[str, Any]:
    """Runs one power iteration for every kernel of a network.

    Args:
      params: the network's parameters.
      spectral: its collection `spectral`.

    Returns:
      The new collection `spectral`.
    """
    if "u" not in spectral:
        return {name: advance(params[name], tree) for name, tree in spectral.items()}
    kernel = jax.lax.stop_gradient(params["kernel"]).astype(jnp.float32)
    v = _unit(jnp.sum(kernel * spectral["u"], axis=3))
    return {"u": _unit(jnp.sum(kernel * v[..., None], axis=(0, 1, 2))), "v": v}


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), 1e-12)
