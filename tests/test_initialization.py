"""Weights start as PyTorch's defaults or as the baselines', from one seed."""

import jax
import numpy as np
from helpers import small

from scam_jax import models
from scam_jax.training import state


def draw(*choices, **overrides):
    config = small.config(*choices, **overrides)
    return state.create(config, models.build(config)).params


def test_the_layer_of_means_and_variances_is_never_equalized():
    """As in the authors' code, where all other layers are."""
    config = small.config(model__encoder__use_vae=True, model__equalized=True)
    encoder = models.build(config).encoder
    params = state.create(config, models.build(config)).params["encoder"]
    image, labels = jax.numpy.zeros((1, 16, 16, 3)), jax.numpy.zeros((1, 16, 16), int)
    kernel = params["gaussian"]["kernel"]
    assert np.abs(kernel).max() <= 1 / np.sqrt(kernel.shape[1])

    def mean(kernel):
        layer = {"kernel": kernel, "bias": 0 * params["gaussian"]["bias"]}
        changed = {**params, "gaussian": layer}
        return encoder.apply({"params": changed}, image, labels).mean

    identity = np.broadcast_to(np.eye(*kernel.shape[1:], dtype=np.float32), kernel.shape)
    plain = models.build(small.config(model__equalized=True)).encoder
    without = {name: tree for name, tree in params.items() if name != "gaussian"}
    expected = plain.apply({"params": without}, image, labels)
    np.testing.assert_allclose(mean(identity), expected, rtol=1e-5)


def test_distributions():
    params = draw(model__latent_dim=64, model__attention_dim=64, model__encoder__use_vae=True)
    encoder, generator = params["encoder"], params["generator"]
    assert abs(np.std(encoder["latents"]) - 1) < 0.1
    query = encoder["cross_attention_0"]["attention"]["query"]
    for array, fan_in in [
        (query["kernel"], 64),
        (query["bias"], 64),
        (generator["first_conv"]["kernel"], 27),
        (encoder["gaussian"]["kernel"], 64),
        (encoder["gaussian"]["bias"], 64),
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


def test_baselines_start_as_xavier():
    """Weights normal, 0.02·√(2/(fan_in + fan_out)); biases as PyTorch has them."""
    block = draw("model=sean")["generator"]["block_0_mod_0"]
    for kernel, fans in [
        (block["label_map_encoder"]["shared"]["kernel"], 9 * 3 + 9 * 128),
        (block["code_projection"]["kernel"], 8 + 8),
        (block["code_gamma"]["kernel"], 9 * 8 + 9 * 64),
    ]:
        deviation = 0.02 * np.sqrt(2 / fans)
        assert abs(np.std(kernel) / deviation - 1) < 0.15
    bias = block["label_map_encoder"]["shared"]["bias"]
    assert 0.9 / np.sqrt(27) < np.abs(bias).max() <= 1 / np.sqrt(27)


def test_tables_of_labels_and_singular_vectors():
    config = small.config("model=clade")
    start = state.create(config, models.build(config))
    table = start.params["generator"]["block_0_mod_0"]["label_table"]
    weight = table["label_weight"]
    assert weight.shape == (3, 64)
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert abs(np.mean(weight) - 0.5) < 0.1
    assert not np.any(table["label_bias"])
    vectors = start.extra["generator"]["spectral"]["block_0_conv_0"]
    for vector in (vectors["u"], vectors["v"]):
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)
