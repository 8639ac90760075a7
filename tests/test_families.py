"""Every family and discriminator trains by the same step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small
from helpers.closeness import assert_trees_close

from scam_jax import models
from scam_jax.inference import generation
from scam_jax.models.layers import spectral_norm
from scam_jax.training import state
from scam_jax.training.step import train_step

# (choices, overrides) by what is new in each; a program takes long to compile, so few have it all.
# SPADE's encoder is CLADE's. The tests of minutes are without those that take longest, SLOW.
PROGRAMS = {
    "clade, sharpness-aware": ("model=clade", dict(optimizer__sam_rho=0.5)),
    "sean_clade, oasis": (
        "model=sean_clade,discriminator=oasis",
        dict(data__height=64, data__width=64, train__batch_size=2),
    ),
    # at 16×16, instance norm of the smallest map, a single pixel, would be 0
    "inade": ("model=inade", dict(data__height=32, data__width=32)),
    # of three hidden units that see a label each, small weights would leave none above 0
    "groupdnet": ("model=groupdnet", dict(model__initialization="pytorch")),
    "spade without code, stylegan2": (
        "model=spade,discriminator=stylegan2",
        dict(
            model__encoder__use_vae=False,
            losses__kl=0.0,
            model__discriminator__num_layers=2,
            model__discriminator__spectral_norm=True,
        ),
    ),
    "variational sean, bfloat16, rematerialized": (
        "model=sean",
        dict(
            model__encoder__use_vae=True,
            losses__kl=0.05,
            model__dtype="bfloat16",
            train__rematerialize=True,
        ),
    ),
}
SLOW = ("clade", "groupdnet", "sean")


@pytest.mark.parametrize(
    ("choices", "draws"), [("", False), ("model=sean", False), ("model=spade", True)]
)
def test_scam_and_sean_use_means_after_training_and_others_samples(choices, draws):
    config = small.config(choices, model__encoder__use_vae=True)
    networks, batch = models.build(config), small.batch(config, 0)
    variables = state.create(config, networks).eval_variables()
    image, labels = batch["image"][:1], batch["label"][:1]
    codes = [
        jax.tree.leaves(generation.encode(networks, variables, image, labels, keys))[0]
        for keys in (generation.image_keys(seed, np.zeros(1, np.int32)) for seed in (0, 1))
    ]
    assert np.any(codes[0] != codes[1]) == draws


def test_the_blocks_with_statistics_of_the_label_map_are_the_authors():
    """Of all blocks but the last, those below the number; the last one at U - 1 alone."""
    for count, expected in ((0, []), (2, [0, 1]), (3, [0, 1, 2, 3]), (4, [0, 1, 2])):
        config = small.config(
            model__generator__num_up_layers=4, model__generator__mask_adain_layers=count
        )
        generator = models.build(config).generator
        assert [i for i in range(4) if generator._has_mask_adain(i)] == expected


def two_steps(config):
    networks = models.build(config)
    start = state.create(config, networks)
    step = jax.jit(lambda s, b: train_step(config, networks, None, s, b, None))
    after, metrics = step(start, small.batch(config, 0))
    return start, after, [metrics, step(after, small.batch(config, 1))[1]]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * any(family in name for family in SLOW))
        for name in PROGRAMS
    ],
)
def test_trains(name):
    """Finite losses, every weight moves, spectral norm by one power iteration."""
    choices, overrides = PROGRAMS[name]
    config = small.config(choices, **overrides)
    start, after, all_metrics = jax.device_get(two_steps(config))
    for metrics in all_metrics:
        assert all(np.isfinite(m) for m in metrics.values()), metrics
        assert ("kl" in metrics) == models.family_of(config).variational(config.model)
    # biases ahead of instance norm, and the discriminator's last at first, have no gradient
    pairs = jax.tree.map(lambda a, b: (a, b), start.params, after.params)
    for path, (before, now) in jax.tree_util.tree_leaves_with_path(
        pairs, is_leaf=lambda x: isinstance(x, tuple)
    ):
        assert "bias" in path[-1].key or np.any(before != now), jax.tree_util.keystr(path)
    for network, collections in start.extra.items():
        if "spectral" in collections:
            advance = jax.jit(spectral_norm.advance)
            advanced = advance(start.params[network], collections["spectral"])
            assert_trees_close(after.extra[network]["spectral"], advanced, atol=1e-6)
        for statistics in jax.tree.leaves(collections.get("batch_stats", {})):
            assert not statistics.any() or (statistics == 1).all()
    assert all(np.any(s != 0) for s in jax.tree.leaves(after.extra["generator"].get("batch_stats")))


def test_spectral_norm_approaches_the_greatest_singular_value():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 4, 5)).astype(np.float32)
    params = {"conv": {"kernel": kernel}}
    vectors = {"conv": {"u": jnp.ones(5) / np.sqrt(5), "v": jnp.zeros((3, 3, 4))}}
    for _ in range(50):
        vectors = spectral_norm.advance(params, vectors)
    sigma = np.sum(kernel * vectors["conv"]["v"][..., None] * vectors["conv"]["u"])
    expected = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
    assert sigma == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "size", "shapes"),
    [
        ("stylegan2", (32, 20), [(2, 16, 10, 4), (2, 8, 5, 8), (2, 8, 5, 16), (2, 1, 1, 1)]),
        ("oasis", (128, 64), [(2, 128, 64, 4)]),
    ],
)
def test_maps_of_discriminators(kind, size, shapes):
    """Non-square images; the last map is the logits."""
    layers = dict(model__discriminator__num_layers=2) if kind == "stylegan2" else {}
    config = small.config(f"discriminator={kind}", **layers)
    discriminator = models.build(config).discriminator
    image, one_hot = jnp.zeros((2, *size, 3)), jnp.zeros((2, *size, 3))
    maps = jax.eval_shape(discriminator.init_with_output, jax.random.key(0), image, one_hot)[0]
    assert [[m.shape for m in scale] for scale in maps] == [shapes]
