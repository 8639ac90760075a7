"""Weights start as PyTorch's defaults, from one seed."""

import jax
import numpy as np
import small

from scam_jax import models, state


def draw(**overrides):
    config = small.config(**overrides)
    return state.create(config, models.build(config)).params


def test_distributions():
    params = draw(model__latent_dim=64, model__attention_dim=64, model__encoder__use_vae=True)
    encoder, generator = params["encoder"], params["generator"]
    assert abs(np.std(encoder["latents"]) - 1) < 0.1
    query = encoder["cross_attention_0"]["attention"]["query"]
    for array, fan_in in [
        (query["kernel"], 64),
        (query["bias"], 64),
        (generator["first_conv"]["kernel"], 27),
        (encoder["gaussian_kernel"], 64),
        (encoder["gaussian_bias"], 64),
    ]:
        bound = 1 / np.sqrt(fan_in)
        assert 0.9 * bound < np.abs(array).max() <= bound
        assert abs(np.mean(array)) < 0.2 * bound
    norm = encoder["cross_attention_0"]["norm_1"]
    assert np.all(norm["scale"] == 1)
    assert not np.any(norm["bias"])
    assert not np.any(generator["block_0_mod_0"]["noise_scale"])


def test_equalized_weights_are_standard_normal():
    params = draw(model__equalized=True)["generator"]["first_conv"]
    assert abs(np.std(params["kernel"]) - 1) < 0.1
    assert not np.any(params["bias"])


def test_the_seed_decides():
    same = jax.tree.map(np.array_equal, draw(), draw())
    assert all(jax.tree.leaves(same))
    other = draw(seed=1)["encoder"]["latents"]
    assert not np.array_equal(draw()["encoder"]["latents"], other)


def test_two_layers_of_one_shape_differ():
    block = draw()["generator"]["block_0_mod_0"]["latent_to_image"]
    assert not np.array_equal(block["query"]["kernel"], block["value"]["kernel"])
