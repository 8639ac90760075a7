"""The published networks at full size against the authors' numbers; run with `pytest -m full`."""

import jax
import numpy as np
import pytest
from helpers.by_rule import image as image_by_rule
from helpers.by_rule import variables
from helpers.closeness import assert_close

from configs import common
from scam_jax import models
from scam_jax.training import state
from scam_jax.weights import torch_names

pytestmark = pytest.mark.full


def assert_image_close(ours, theirs) -> None:
    """Within 1e-3 but for one pixel in a thousand, at which fp32 itself is not that good.

    Instance norm of nearly flat channels magnifies rounding: computed in double precision, CelebA's
    image differs from the authors' fp32 by up to 5.6e-3, at 30 of 196 608 values.
    """
    kept = ~np.isnan(theirs)
    difference = np.abs(np.asarray(ours)[kept] - theirs[kept])
    assert np.quantile(difference, 0.999) < 1e-3
    assert np.median(difference) < 1e-5
    assert difference.max() < 2e-2


@pytest.mark.parametrize("name", ["full_celeba", "full_idesigner"])
def test_full_size(golden, name):
    g = golden(name)
    config = common.base()
    config.data.height, config.data.width = g.meta["height"], g.meta["width"]
    config.data.num_labels = g.meta["num_labels"]
    networks = models.build(config)
    shapes = state.variable_shapes(config, networks)
    names = torch_names.of_config(config)
    weights = {network: variables(tree, names[network]) for network, tree in shapes.items()}
    image = image_by_rule((1, 3, config.data.height, config.data.width))
    labels = g.labels()

    latents = jax.jit(networks.encoder.apply)(weights["encoder"], image, labels)
    assert_close(latents, g["out/latents"], atol=1e-3)
    keys = jax.random.split(jax.random.key(0), 1)
    fake = jax.jit(networks.generator.apply)(weights["generator"], labels, latents, keys)
    assert_image_close(fake, g.nhwc("out/image"))
    one_hot = jax.nn.one_hot(labels, config.data.num_labels)
    maps = jax.jit(networks.discriminator.apply)(weights["discriminator"], image, one_hot)
    for scale in range(2):
        assert_close(maps[scale][-1], g.nhwc(f"out/logits{scale}"), atol=1e-3)
