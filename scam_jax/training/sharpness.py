"""Sharpness-aware minimization: gradients at a point of higher loss (Foret et al. 2021)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scam_jax.training.state import TrainState

# `{side: {network: tree}}`
Sides = dict[str, dict[str, Any]]


def uphill(params: Any, gradients: Any, rho: float) -> Any:
    """Moves parameters along their gradients, scaled to each parameter's size (Kwon et al. 2021).

    The step is ρ·p²·g / (‖p·g‖ + 10⁻¹²), with the norm over all parameters together.

    Args:
      params: pytree of parameters p.
      gradients: pytree of their gradients g.
      rho: ρ, the radius.

    Returns:
      The moved parameters.
    """
    squares = jax.tree.map(lambda p, g: jnp.sum(jnp.square(p * g)), params, gradients)
    scale = rho / (jnp.sqrt(sum(jax.tree.leaves(squares))) + 1e-12)
    return jax.tree.map(lambda p, g: p + scale * jnp.square(p) * g, params, gradients)


def gradients_uphill(
    gradients_at: Callable[[TrainState], Sides], state: TrainState, sides: Sides, rho: float
) -> Sides:
    """Computes each side's gradients with only this side's parameters moved uphill.

    Args:
      gradients_at: maps a state to its gradients.
      state: the state before the step.
      sides: the gradients at `state`.
      rho: the radius of `uphill`.

    Returns:
      The gradients, `{side: {network: tree}}`.
    """
    result: Sides = {}
    for side, gradients in sides.items():
        own = {name: state.params[name] for name in gradients}
        moved = state.replace(params={**state.params, **uphill(own, gradients, rho)})
        result[side] = gradients_at(moved)[side]
    return result
