"""Spectral norm: kernels divided by their greatest singular value (Miyato et al. 2018).

The estimates of the singular vectors are the collection `spectral`. Layers only read them: as they
depend on the kernels alone, a training step advances those of a network all at once, before its
passes, and evaluation leaves them as they are.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array
COLLECTION = "spectral"


def normalized(module: nn.Module, kernel: Array) -> Array:
    """The module's kernel `[k, k, C, D]` over σ = uᵀWv; u and v are its variables."""
    u = module.variable(COLLECTION, "u", jnp.zeros, kernel.shape[3:]).value
    v = module.variable(COLLECTION, "v", jnp.zeros, kernel.shape[:3]).value
    # a sum of products, not a matrix product: those are less than fp32 on accelerators
    return kernel / jnp.sum(kernel * v[..., None] * u)


def advance(params: Mapping[str, Any], spectral: Mapping[str, Any]) -> dict[str, Any]:
    """One power iteration of every pair of vectors of a network.

    Args:
      params: of the network.
      spectral: its collection `spectral`.
    """
    if "u" not in spectral:
        return {name: advance(params[name], tree) for name, tree in spectral.items()}
    kernel = jax.lax.stop_gradient(params["kernel"]).astype(jnp.float32)
    v = _unit(jnp.sum(kernel * spectral["u"], axis=3))
    return {"u": _unit(jnp.sum(kernel * v[..., None], axis=(0, 1, 2))), "v": v}


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), 1e-12)
