"""What large batches are trained with changes memory and rates, and no result but in rounding."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import small
from helpers.closeness import assert_trees_close
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.runs import validation
from scam_jax.training import objectives, optimizers, state
from scam_jax.training.objectives import NetworkGradients
from scam_jax.training.step import gradients_of_step, train_step, update_state

VARIATIONAL = dict(model__encoder__use_vae=True, losses__kl=0.01)


class Computed(NamedTuple):
    """A batch's gradients and metrics, and the program that computes them."""

    gradients: NetworkGradients
    program: str


def computed(config: ConfigDict) -> Computed:
    networks = models.build(config)
    arguments = state.create(config, networks), small.batch(config)
    step = jax.jit(lambda s, b: gradients_of_step(config, networks, None, s, b, None))
    traced = step.trace(*arguments)
    return Computed(traced.lower().compile()(*arguments), str(traced.jaxpr))


@pytest.fixture(scope="module")
def whole() -> Computed:
    """Of a whole batch, KL loss and noise included."""
    return computed(small.shallow(**VARIATIONAL))


@pytest.fixture(scope="module")
def thrifty() -> Computed:
    """Of the same batch of four in four parts, rematerialized."""
    options = dict(**VARIATIONAL, train__accumulation_steps=4, train__rematerialize=True)
    validation.validate(small.config(**options))
    return computed(small.shallow(**options))


def test_accumulated_and_rematerialized_gradients_are_the_large_batchs(whole, thrifty):
    ours, expected = thrifty.gradients, whole.gradients
    assert_trees_close(ours.metrics, expected.metrics, atol=1e-6, of_largest=1e-5)
    assert_trees_close(ours.by_network, expected.by_network, atol=1e-6, of_largest=1e-4)


def test_what_saves_memory_is_in_the_program(whole, thrifty):
    for recomputed_or_in_a_loop in ("remat", "length=4"):
        assert recomputed_or_in_a_loop not in whole.program
        assert recomputed_or_in_a_loop in thrifty.program


def test_one_backward_pass_serves_both_sides(whole, monkeypatch):
    """The generator's gradient as the discriminator's negated, against its own."""
    monkeypatch.setattr(objectives._Objectives, "sides_are_opposed", lambda self: False)
    ours, apart = whole.gradients, computed(small.shallow(**VARIATIONAL)).gradients
    assert_trees_close(ours.by_network, apart.by_network, atol=1e-6, of_largest=1e-4)


def test_without_a_gan_loss_the_discriminator_rests():
    config = small.shallow(losses__gan=0.0)
    networks = models.build(config)
    start = state.create(config, networks)
    step = jax.jit(lambda s, b: train_step(config, networks, None, s, b, None))
    after, metrics = step(start, small.batch(config))
    assert "gan" not in metrics
    assert_trees_close(after.params["discriminator"], start.params["discriminator"])
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), start.params, after.params)
    assert all(jax.tree.leaves(moved["encoder"]))


@pytest.mark.parametrize(("scaling", "times"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_rates_scale_with_the_batch(scaling, times):
    config = small.config(
        train__batch_size=64,
        optimizer__reference_batch_size=16,
        optimizer__rate_scaling=scaling,
        optimizer__generator_learning_rate=0.01,
        optimizer__discriminator_learning_rate=0.02,
    )
    assert optimizers.learning_rates(config) == pytest.approx(
        {"generator": 0.01 * times, "discriminator": 0.02 * times}
    )


def test_warm_up_raises_the_rate_step_by_step():
    """Three steps of warm-up move a weight by 1/3, 2/3, 1, 1 times the rate."""
    config = small.shallow(optimizer__warmup_steps=3, optimizer__weight_decay=0.0)
    config.optimizer.generator_learning_rate = rate = 1e-3
    current = state.create(config, models.build(config))
    ones = jax.tree.map(np.ones_like, current.params)
    gradients = {side: state.of_side(ones, side) for side in state.SIDES}
    update = jax.jit(partial(update_state, config))
    for share in (1 / 3, 2 / 3, 1, 1):
        after = update(current, gradients)
        pairs = jax.device_get((current.params["encoder"], after.params["encoder"]))
        moved = jax.tree.map(lambda a, b: a - b, *pairs)
        for leaf in jax.tree.leaves(moved):
            np.testing.assert_allclose(leaf, share * rate, atol=1e-6)
        current = after


@pytest.mark.parametrize(
    ("decay", "shares"),
    [
        # Two steps of warm-up, then eight to the last share of 0.2.
        ("constant", [1 / 2, 1, 1, 1, 1]),
        ("linear", [1 / 2, 1, 1, 0.6, 0.2]),
        ("cosine", [1 / 2, 1, 1, 0.6, 0.2]),
    ],
)
def test_rates_decay_after_the_warm_up(decay, shares):
    config = small.config(
        optimizer__warmup_steps=2,
        optimizer__decay=decay,
        optimizer__last_rate=0.2,
        optimizer__generator_learning_rate=0.01,
        train__num_steps=10,
    )
    rate = optimizers.learning_rates(config)["generator"]
    found = [float(rate(step)) for step in (0, 1, 2, 6, 10)]
    np.testing.assert_allclose(found, [0.01 * share for share in shares], rtol=1e-5)


def test_rates_decay_without_a_warm_up():
    config = small.config(optimizer__decay="cosine", train__num_steps=10)
    rate = optimizers.learning_rates(config)["discriminator"]
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [4e-4, 2e-4, 0], atol=1e-9)


@pytest.mark.parametrize(("limit", "shares"), [(0.0, (1, 1)), (5.0, (1 / 2, 1))])
def test_gradients_of_a_side_are_scaled_down_together(limit, shares):
    """By momentum alone (β₁ of 0.5, first step): half of the gradient that the optimizer saw."""
    config = small.shallow(optimizer__clip_norm=limit, optimizer__b1=0.5)
    current = state.create(config, models.build(config))
    norms, gradients = {"generator": 10.0, "discriminator": 3.0}, {}
    for side, norm in norms.items():
        own = state.of_side(current.params, side)
        count = sum(leaf.size for leaf in jax.tree.leaves(own))
        value = norm / count**0.5
        gradients[side] = jax.tree.map(lambda x, v=value: np.full_like(x, v), own)
    after = jax.jit(partial(update_state, config))(current, gradients)
    for (side, given), share in zip(gradients.items(), shares, strict=True):
        value = 0.5 * share * jax.tree.leaves(given)[0].ravel()[0]
        moments = optax.tree.get(after.opt_state[side], "mu")
        expected = jax.tree.map(lambda m, v=value: np.full_like(m, v), moments)
        assert_trees_close(moments, expected, atol=1e-6)


@pytest.mark.parametrize("network", ["encoder", "generator", "discriminator"])
def test_a_network_may_have_its_own_compute_type(network):
    """Its products are in bfloat16, the others' in float32; parameters stay float32."""
    config = small.config(**{f"model__{network}__dtype": "bfloat16"})
    networks = models.build(config)
    names = ("encoder", "generator", "discriminator")
    types = {name: getattr(networks, name).layer.dtype for name in names}
    expected = {name: "bfloat16" if name == network else "float32" for name in names}
    assert types == {name: jnp.dtype(dtype) for name, dtype in expected.items()}
    shapes = state.variable_shapes(config, networks)[network]
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(train__accumulation_steps=3), "train.accumulation_steps = 3: must divide"),
        (dict(train__accumulation_steps=0), "train.accumulation_steps = 0: use 1 or more"),
        (
            dict(train__accumulation_steps=2, model__generator__norm="batch"),
            "batch norm needs the whole batch",
        ),
        (
            dict(train__accumulation_steps=2, losses__swapped=1.0),
            "losses.swapped needs the whole batch",
        ),
        (
            dict(train__accumulation_steps=2, losses__adaptive_gan=True),
            "losses.adaptive_gan needs the whole batch",
        ),
        (dict(optimizer__rate_scaling="log"), "optimizer.rate_scaling = 'log': use one of none"),
        (dict(model__encoder__dtype="float16"), "model.encoder.dtype = 'float16': use one of"),
    ],
)
def test_impossible_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        validation.validate(small.config(**options))
