"""The training step equals the authors', on one device and on two, and every loss option runs."""

from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small
from helpers.closeness import assert_trees_close
from helpers.golden import Golden, vgg_of

from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.models.layers import primitives
from scam_jax.training import state
from scam_jax.training import step as training_step
from scam_jax.training.step import gradients_of_step, train_step, update_state
from scam_jax.weights import convert, torch_names

# Our metrics by the authors' names.
METRICS = {
    "gen_gan_loss": "gan",
    "perceptual_loss": "perceptual",
    "l1_loss": "l1",
    "gen_loss": "generator",
    "true_disc_gan_loss": "discriminator_real",
    "false_disc_gan_loss": "discriminator_fake",
    "disc_loss": "discriminator",
    "lambda_l1_loss": "weight/l1",
    "lambda_gen_gan_loss": "weight/gan",
}


def golden_state(config, networks, g):
    shapes = state.variable_shapes(config, networks)
    names = torch_names.of_config(config)
    variables = {n: convert.from_torch(g.group(f"init/{n}/"), shapes[n], names[n]) for n in shapes}
    return state.from_variables(config, variables)


@pytest.fixture(scope="module")
def four_steps():
    """The golden steps' last state, every step's metrics, and the first step's gradients."""
    g = Golden("train_steps")
    config = small.of_golden_steps()
    networks = models.build(config)
    train_state = golden_state(config, networks, g)
    vgg = vgg_of(g)[1]["params"]

    @jax.jit
    def step(train_state, batch):
        """Also returns the gradients: the program takes too long to compile for a second one."""
        computed = []

        def recording(*args):
            computed.append(gradients_of_step(*args))
            return computed[0]

        with mock.patch.object(training_step, "gradients_of_step", recording):
            results = train_step(config, networks, None, train_state, batch, vgg)
        return *results, computed[0].by_network

    all_metrics, all_gradients = [], []
    for i in range(4):
        batch = {"image": g.nhwc(f"step{i}/image"), "label": g.labels(f"step{i}/label")}
        train_state, metrics, gradients = step(train_state, batch)
        all_metrics.append(metrics)
        all_gradients.append(gradients)
    return train_state, all_metrics, all_gradients[0]


@pytest.mark.parametrize("step", range(4))
def test_losses_of_a_step(golden, four_steps, step):
    g = golden("train_steps")
    metrics = four_steps[1][step]
    for theirs, ours in METRICS.items():
        expected = g[f"step{step}/metric/{theirs}"]
        np.testing.assert_allclose(metrics[ours], expected, 1e-4, 1e-5, err_msg=ours)
    assert four_steps[0].step == 4


def test_first_gradients(golden, four_steps):
    g = golden("train_steps")
    ours = four_steps[2]
    names = torch_names.of_config(small.of_golden_steps())
    theirs = {
        n: convert.from_torch(g.group(f"step0/grad/{n}/"), {"params": ours[n]}, names[n])["params"]
        for n in ours
    }
    assert_trees_close(ours, theirs, atol=1e-6, of_largest=1e-4)


def test_batch_norm_shares_its_statistics():
    """Two devices with half a batch each normalise as one with the whole."""
    x = np.random.RandomState(0).standard_normal((4, 3, 5, 2)).astype(np.float32) * 3 + 1
    module = primitives.BatchNorm(sharding.DATA)
    variables = module.init(jax.random.key(0), x, True)
    variables["batch_stats"]["variance"] = jnp.ones(2)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), (sharding.DATA,))
    split, everywhere = jax.sharding.PartitionSpec(sharding.DATA), jax.sharding.PartitionSpec()
    y, updated = jax.shard_map(
        lambda v, x: module.apply(v, x, True, mutable=["batch_stats"]),
        mesh=mesh,
        in_specs=(everywhere, split),
        out_specs=(split, everywhere),
        check_vma=False,
    )(variables, x)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(stats["variance"], 0.9 + 0.1 * variance * 60 / 59, rtol=1e-5)


def gradients_of_ones(current):
    ones = jax.tree.map(np.ones_like, current.params)
    return {side: state.of_side(ones, side) for side in state.SIDES}


def test_ema_follows_the_parameters():
    config = small.shallow(train__ema_decay=0.5)
    start = state.create(config, models.build(config))
    after = jax.jit(partial(update_state, config))(start, gradients_of_ones(start))
    decay = 1 / 10  # (1 + step) / (10 + step) at step 0
    expected = jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new,
        *jax.device_get((start.ema, state.of_side(after.params, "generator"))),
    )
    assert_trees_close(after.ema, expected, atol=1e-6)
    assert after.eval_variables()["encoder"]["params"] is after.ema["encoder"]


def test_adamw_by_hand():
    """The first step moves by the learning rate against the gradient's sign, and decays."""
    config = small.shallow(optimizer__generator_learning_rate=0.01, optimizer__weight_decay=0.1)
    start = state.create(config, models.build(config))
    after = jax.jit(partial(update_state, config))(start, gradients_of_ones(start))
    weights = jax.device_get(start.params["encoder"])
    expected = jax.tree.map(lambda w: w - 0.01 * (1 + 0.1 * w), weights)
    assert_trees_close(after.params["encoder"], expected, atol=1e-6)
    assert after.ema is None
    assert after.step == 1


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_discriminator_begins_with_its_losses(kind):
    """Until then nothing of it moves. Its first update has its rate, which warms up from there."""
    config = small.shallow(
        schedules={"gan": {"start": 0.0, "steps": 3}},
        optimizer__kind=kind,
        optimizer__discriminator_learning_rate=0.01,
        optimizer__weight_decay=0.1,
        optimizer__warmup_steps=2,
    )
    update = jax.jit(partial(update_state, config))
    start = state.create(config, models.build(config))
    gradients = gradients_of_ones(start)
    before = update(start.replace(step=jnp.int32(2)), gradients)
    assert_trees_close(before.params["discriminator"], start.params["discriminator"], atol=0)
    assert_trees_close(before.opt_state["discriminator"], start.opt_state["discriminator"], atol=0)
    assert not np.allclose(before.params["encoder"]["latents"], start.params["encoder"]["latents"])
    first = update(before, gradients)
    old, new = (s.params["discriminator"]["scale_0"]["conv_0"]["bias"] for s in (start, first))
    # Muon's AdamW has Nesterov's momentum, whose first update is 1.5 times as large.
    np.testing.assert_allclose(new, old - 0.005 * (1.474 if kind == "muon" else 1.0), atol=1e-4)


# Every option of model and losses, in as few programs as they fit in.
OPTIONS = {
    "variational": dict(
        model__encoder__use_vae=True,
        losses__kl=0.01,
        losses__gan_kind="non_saturating",
        losses__gradient_normalization=False,
        losses__r1=1.0,
        losses__lazy_r1_step=2,
    ),
    "adversarial": dict(
        losses__feature_matching=10.0,
        losses__adaptive_gan=True,
        losses__swapped=1.0,
        model__encoder__latents="random",
    ),
    "bfloat16": dict(
        model__dtype="bfloat16",
        model__generator__architecture="resnet",
        model__encoder__latents="fixed_random",
        model__encoder__num_heads=2,
        model__generator__num_heads=2,
    ),
}


def test_the_adaptive_weight_is_of_gradients_without_weights():
    """Any weights of the GAN loss and of the reconstruction give the same scale."""
    config = small.shallow(
        schedules={"gan": {"start": 1.0, "steps": 2}, "l1": {"start": 10.0, "steps": 1}},
        losses__gan=0.1,
        losses__l1=2.0,
        losses__adaptive_gan=True,
        model__generator__add_noise=False,  # it would be another at each step
    )
    networks = models.build(config)
    start, batch = state.create(config, networks), small.batch(config, 0)
    gradients = jax.jit(lambda s, b: gradients_of_step(config, networks, None, s, b, None))
    scales = []
    for step, (gan, l1) in enumerate(((1.0, 10.0), (1.0, 2.0), (0.1, 2.0))):
        metrics = gradients(start.replace(step=jnp.int32(step)), batch).metrics
        scales.append(metrics["adaptive_gan_scale"])
        gan_side = gan * metrics["gan"] * scales[-1]
        total = metrics["generator"] - l1 * metrics["l1"]
        np.testing.assert_allclose(total, gan_side, rtol=1e-4)
    np.testing.assert_allclose(scales, scales[0], rtol=1e-3)


@pytest.mark.parametrize("name", OPTIONS)
def test_option_trains(name):
    """Finite losses, every trainable parameter moves, a fixed one does not."""
    config = small.shallow(**OPTIONS[name])
    networks = models.build(config)
    start = state.create(config, networks)
    step = jax.jit(lambda s, b: train_step(config, networks, None, s, b, None))
    after, first = step(start, small.batch(config, 0))
    _, second = step(after, small.batch(config, 1))
    for metrics in (first, second):
        assert all(np.isfinite(m) for m in metrics.values()), metrics
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), start.params, after.params)
    assert all(jax.tree.leaves(moved)), moved
    assert_trees_close(after.extra, start.extra)
    if name == "variational":
        assert first["kl"] > 0
        assert first["r1"] == 0, "R1 is lazy: at the second step"
        assert second["r1"] > 0
    if name == "adversarial":
        assert first["adaptive_gan_scale"] > 0
        assert first["feature_matching"] > 0
        assert "discriminator_swapped" in first
