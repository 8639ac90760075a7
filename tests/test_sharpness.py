"""Sharpness-aware minimisation by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from helpers import small

from scam_jax import models
from scam_jax.training import sharpness, state
from scam_jax.training.state import TrainState
from scam_jax.training.step import train_step


def state_of(params):
    return TrainState(jnp.int32(0), params, {}, {}, None)


def test_uphill_by_hand():
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([0.0])}
    gradients = {"a": jnp.array([3.0, 2.0]), "b": jnp.array([7.0])}
    moved = sharpness.uphill(params, gradients, rho=0.5)
    norm = 5.0  # of 1·3, 2·2 and 0·7
    np.testing.assert_allclose(moved["a"], [1 + 0.5 * 1 * 3 / norm, -2 + 0.5 * 4 * 2 / norm])
    np.testing.assert_array_equal(moved["b"], [0])


def test_each_side_climbs_alone():
    """Of x³y and of xy³: each gradient is at its own new place, the other side where it was."""

    def gradients_at(state):
        x, y = state.params["generator"], state.params["discriminator"]
        of_x = jax.grad(lambda x: jnp.sum(x**3 * y))(x)
        of_y = jax.grad(lambda y: jnp.sum(x * y**3))(y)
        return {"generator": {"generator": of_x}, "discriminator": {"discriminator": of_y}}

    state = state_of({"generator": jnp.array([2.0]), "discriminator": jnp.array([3.0])})
    sides = sharpness.gradients_uphill(gradients_at, state, gradients_at(state), rho=0.5)
    # a single number moves by rho times its size
    np.testing.assert_allclose(sides["generator"]["generator"], [3 * 3.0**2 * 3], rtol=1e-6)
    np.testing.assert_allclose(sides["discriminator"]["discriminator"], [2 * 3 * 4.5**2], rtol=1e-6)


def test_the_step_climbs_only_if_the_config_says_so(monkeypatch):
    seen = []

    def uphill(gradients_at, train_state, sides, rho):
        seen.append(rho)
        return sides

    monkeypatch.setattr(sharpness, "gradients_uphill", uphill)
    for rho in (0.0, 0.5):
        config = small.shallow(optimizer__sam_rho=rho)
        networks = models.build(config)
        step = partial(train_step, config, networks, None)
        shapes = state.abstract(config, networks)
        jax.eval_shape(lambda s, b, step=step: step(s, b, None), shapes, small.batch(config, 0))
    assert seen == [0.5]
