"""Sharpness-aware minimisation: gradients from where the loss is higher (Foret et al. 2021)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scam_jax.training.state import TrainState

# `{side: {network: tree}}`
Sides = dict[str, dict[str, Any]]


def uphill(params: Any, gradients: Any, rho: float) -> Any:
    """Parameters moved up their gradients, each in proportion to its size (Kwon et al. 2021).

    By ρ·p²·g / (‖p·g‖ + 10⁻¹²), the norm over all of them together.
    """
    squares = jax.tree.map(lambda p, g: jnp.sum(jnp.square(p * g)), params, gradients)
    scale = rho / (jnp.sqrt(sum(jax.tree.leaves(squares))) + 1e-12)
    return jax.tree.map(lambda p, g: p + scale * jnp.square(p) * g, params, gradients)


def gradients_uphill(
    gradients_at: Callable[[TrainState], Sides], state: TrainState, sides: Sides, rho: float
) -> Sides:
    """Each side's gradients with its own parameters moved uphill, the other side's as they are.

    Args:
      gradients_at: a state to its gradients.
      state: before the step.
      sides: the gradients there.
      rho: how far to move.
    """
    result = {}
    for side, gradients in sides.items():
        own = {name: state.params[name] for name in gradients}
        moved = state.replace(params={**state.params, **uphill(own, gradients, rho)})
        result[side] = gradients_at(moved)[side]
    return result
