"""Losses equal the authors' on golden arrays; schedules and gradient normalisation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small
from helpers.closeness import assert_close
from helpers.golden import vgg_of

from scam_jax import models
from scam_jax.models.discriminators import patchgan
from scam_jax.training import loss_weights, losses, state
from scam_jax.training.objectives import gradients_of_batch
from scam_jax.weights import convert, torch_names


@pytest.fixture
def maps(golden):
    """Feature maps by 'real' and 'fake': [scale][layer]."""
    g = golden("losses")
    return {
        kind: [[g.nhwc(f"in/disc/scale{s}/{kind}{i}") for i in range(5)] for s in range(2)]
        for kind in ("real", "fake")
    }


def logits(scales):
    return [scale[-1] for scale in scales]


@pytest.mark.parametrize("kind", ["hinge", "non_saturating"])
def test_gan_losses(golden, maps, kind):
    g = golden("losses")
    generator, real, fake = losses.GAN_LOSSES[kind]
    np.testing.assert_allclose(generator(logits(maps["fake"])), g[f"out/{kind}/generator"], 1e-5)
    np.testing.assert_allclose(real(logits(maps["real"])), g[f"out/{kind}/real"], 1e-5)
    np.testing.assert_allclose(fake(logits(maps["fake"])), g[f"out/{kind}/fake"], 1e-5)


def test_feature_matching_l1_and_kl(golden, maps):
    g = golden("losses")
    ours = losses.feature_matching(maps["fake"], maps["real"])
    np.testing.assert_allclose(ours, g["out/feature_matching"], 1e-5)
    np.testing.assert_allclose(losses.l1(g["in/x"], g["in/y"]), g["out/l1"], 1e-5)
    ours = losses.kl_divergence([(g["in/mu"], g["in/logvar"])])
    np.testing.assert_allclose(ours, g["out/kld"], 1e-5)


def test_perceptual(golden):
    g = golden("losses")
    module, variables = vgg_of(g)
    real, fake = (jax.jit(module.apply)(variables, g.nhwc(f"in/{x}")) for x in "xy")
    np.testing.assert_allclose(losses.perceptual(fake, real), g["out/perceptual"], 1e-4)


def test_gradient_normalization(golden):
    g = golden("patchgan_discriminator")
    m = g.meta
    module = patchgan.MultiScaleDiscriminator(
        m["num_discriminators"], m["num_features_fst_conv"], m["num_layers"]
    )
    one_hot = jax.nn.one_hot(g.labels(), m["num_labels"])
    shapes = jax.eval_shape(module.init, jax.random.key(0), g.nhwc("in/real"), one_hot)
    variables = convert.from_torch(
        g.group("params/"), shapes, torch_names.DISCRIMINATORS["patchgan"]
    )
    discriminate = partial(module.apply, variables, method="at_scale")
    of_scale = partial(losses.gradient_normalized, discriminate)
    normalized = jax.jit(lambda *args: [of_scale(*args, scale) for scale in range(2)])
    for kind in ("real", "fake"):
        for scale, (ours, maps) in enumerate(normalized(g.nhwc(f"in/{kind}"), one_hot)):
            assert_close(ours, g.nhwc(f"out/scale{scale}/normalized_{kind}"), atol=2e-5)
            assert maps[-1].shape == ours.shape


def test_gradient_normalization_of_a_flat_discriminator_has_finite_gradients():
    def flat(image, one_hot, scale):
        return [0 * image[..., :1] + 0 * one_hot[..., :1]]

    def loss(image):
        return losses.gradient_normalized(flat, image, jnp.ones((1, 4, 4, 2)), 0)[0].sum()

    assert not np.isnan(jax.jit(jax.grad(loss))(jnp.ones((1, 4, 4, 3)))).any()


def test_geometric_weight():
    assert loss_weights.geometric(100.0, 1.0, 10, jnp.int32(0)) == pytest.approx(100)
    assert loss_weights.geometric(100.0, 1.0, 10, jnp.int32(5)) == pytest.approx(10)
    assert loss_weights.geometric(100.0, 1.0, 10, jnp.int32(99)) == pytest.approx(1)
    assert loss_weights.geometric(0.0, 0.0, 0, jnp.int32(3)) == 0


def test_switched_weight():
    weights = [float(loss_weights.switched(0.0, 2.0, 3, jnp.int32(s))) for s in (0, 2, 3, 9)]
    assert weights == [0, 0, 2, 2]


def test_r1_of_a_linear_discriminator():
    """∇ is the weight everywhere: the penalty is half its squared norm."""

    def linear(image, one_hot, scale):
        return [3.0 * image[..., :1]]

    ours = losses.r1(linear, jnp.zeros((2, 4, 5, 3)), jnp.zeros((2, 4, 5, 2)), 1)
    assert ours == pytest.approx(9 * 4 * 5 / 2)


def test_kl_of_several_is_their_mean():
    one = (jnp.ones((2, 3)), jnp.zeros((2, 3)))
    none = (jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    assert losses.kl_divergence([one]) == pytest.approx(3)
    assert losses.kl_divergence([one, none]) == pytest.approx(1.5)


def test_balanced_labels_count_the_same():
    """Three pixels of label 0, one of label 2, none of label 1: each label has its share."""
    labels = jnp.array([[[0, 0], [0, 2]]])
    pixels = losses.balanced(jax.nn.one_hot(labels, 3))
    np.testing.assert_allclose(pixels.weight, [[[0.5, 0.5], [0.5, 1.5]]])


def test_balanced_counts_over_all_devices():
    one_hot = jax.nn.one_hot(np.random.default_rng(0).integers(0, 3, (4, 2, 2)), 3)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    split = jax.sharding.PartitionSpec("data")
    weight = jax.shard_map(
        lambda x: losses.balanced(x, "data").weight,
        mesh=mesh,
        in_specs=split,
        out_specs=split,
        check_vma=False,
    )(one_hot)
    np.testing.assert_allclose(weight, losses.balanced(one_hot).weight, rtol=1e-6)


def test_oasis_losses():
    """Of two pixels, equally sure of everything: log of the number of classes."""
    pixels = losses.balanced(jax.nn.one_hot(jnp.array([[[0, 1]]]), 2))
    unsure = jnp.zeros((1, 1, 2, 3))
    assert losses.oasis_real([unsure], pixels) == pytest.approx(np.log(3))
    assert losses.oasis_fake([unsure], pixels) == pytest.approx(np.log(3))
    right = 50 * jax.nn.one_hot(jnp.array([[[1, 2]]]), 3)
    assert losses.oasis_real([right], pixels) == pytest.approx(0, abs=1e-6)
    assert losses.oasis_fake([right], pixels) == pytest.approx(50)
    generated = 50 * jax.nn.one_hot(jnp.array([[[0, 0]]]), 3)
    assert losses.oasis_fake([generated], pixels) == pytest.approx(0, abs=1e-6)


def test_the_discriminator_is_skipped_while_all_its_weights_are_0():
    """Before the switch it has no gradient; from the switch on, gradients are those without one."""
    scheduled = small.shallow(schedules={"gan": {"start": 0.0, "steps": 3}})
    always = small.shallow()
    networks = models.build(always)
    begun = state.create(always, networks)
    batch = {
        "image": jnp.ones((2, 16, 16, 3), jnp.uint8),
        "label": jnp.zeros((2, 16, 16), jnp.uint8),
        "key": jax.random.split(jax.random.key(0), 2),
        "swap_key": jax.random.key(1),
    }

    def gradients(config):
        return jax.jit(lambda s, b: gradients_of_batch(config, networks, s, b, None))

    def norm(tree):
        return np.linalg.norm([np.linalg.norm(leaf) for leaf in jax.tree.leaves(tree)])

    second, third = (begun.replace(step=jnp.int32(step)) for step in (2, 3))
    skipped = gradients(scheduled)
    before, after, usual = (
        skipped(second, batch),
        skipped(third, batch),
        gradients(always)(third, batch),
    )
    assert norm(before.by_network["discriminator"]) == 0
    assert before.metrics["discriminator"] == before.metrics["gan"] == 0
    assert norm(before.by_network["generator"]) > 0
    assert norm(after.by_network["discriminator"]) > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after, usual)
