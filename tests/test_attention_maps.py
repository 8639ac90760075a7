"""Attention maps are the weights that the model uses, of the right latents, at the right pixels."""

import functools

import jax
import numpy as np
import pytest
from helpers import small

from scam_jax import models
from scam_jax.examples import Picture
from scam_jax.inference import attention_maps, panels
from scam_jax.inference.model import TrainedModel
from scam_jax.models.layers.primitives import nearest_resize
from scam_jax.models.scam import attention
from scam_jax.models.scam.latent_layout import LatentLayout
from scam_jax.models.scam.regions import find_regions
from scam_jax.training import state


@pytest.fixture(scope="module")
def model():
    """Not square; the label map lacks label 2."""
    config = small.config(data__height=24, model__generator__attention="duplex")
    return TrainedModel(config, state.create(config, models.build(config)).eval_variables())


def picture(seed):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (24, 16, 3), dtype=np.uint8)
    labels = np.zeros((24, 16), np.uint8)
    labels[8:, 4:12] = 1
    return Picture(image, labels)


def test_a_map_for_every_block_and_modulation(model):
    encoder = attention_maps.encoder_maps(model, picture(0))
    assert {name: maps.shape for name, maps in encoder.items()} == {
        "block 0": (24, 16, 3),
        "block 1": (12, 8, 3),
    }
    generator = attention_maps.generator_maps(model, picture(0))
    assert [*generator][:3] == ["block 0, modulation 0", "block 0, modulation 1", "block 0, RGB"]
    assert [*generator][-1] == "block 3, modulation 1"
    assert len(generator) == 4 * 2 + 3, "the last block's RGB is a convolution alone"
    assert generator["block 3, modulation 1"].shape == (24, 16, 3)
    assert generator["block 0, modulation 0"].shape == (2, 1, 3), "fewer pixels than latents"


def test_weights_sum_to_one(model):
    """A pixel's over its label's latents; an encoder's latent's over its label's pixels."""
    for maps in attention_maps.generator_maps(model, picture(0), picture(1)).values():
        np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-4)
    labels = picture(0).labels
    for maps in attention_maps.encoder_maps(model, picture(0)).values():
        small_labels = np.asarray(nearest_resize(labels[None], maps.shape[:2]))[0]
        assert maps[small_labels == 1][:, :2].sum(0) == pytest.approx([1, 1], rel=1e-4)
        assert maps[small_labels == 0].sum(0) == pytest.approx([1, 1, 1], rel=1e-4)


def test_recorded_weights_are_those_of_plain_attention():
    """Softmax over all latents, where those of other labels have none."""
    layout = LatentLayout(3, 2, 3)
    labels = np.random.RandomState(0).randint(0, 3, (1, 6, 5))
    pixels = np.random.RandomState(1).standard_normal((1, 30, 8)).astype(np.float32)
    latents = np.random.RandomState(2).standard_normal((1, 7, 12)).astype(np.float32)
    module = attention.MaskedAttention(width=8, num_heads=2)
    identity = [(np.eye(8, dtype=np.float32), np.zeros(8, np.float32))]
    mask = np.ones((1, 30, 7), bool)
    params = jax.tree.map(
        lambda x: np.random.RandomState(x.size).normal(0, 0.5, x.shape).astype(np.float32),
        jax.eval_shape(module.init, jax.random.key(0), pixels, latents, mask)["params"],
    )

    @jax.jit
    def recorded(params, pixels, latents, regions):
        args = {"params": params}, pixels, latents, regions, layout, identity
        return module.apply(*args, method="look_up", mutable=["intermediates"])

    _, kept = recorded(params, pixels, latents, find_regions(labels, 3))
    weights = kept["intermediates"]["weights"][0][0].reshape(30, 3)
    (wq, bq), (wk, bk) = ((params[n]["kernel"], params[n]["bias"]) for n in ("query", "key"))
    queries = (pixels[0] @ wq + bq).reshape(30, 2, 4)
    keys = (latents[0] @ wk + bk).reshape(7, 2, 4)
    logits = np.einsum("phd,nhd->phn", queries, keys) / 2
    allowed = labels.reshape(30, 1) == np.asarray(layout.owners)
    logits = np.where(allowed[:, None], logits, -np.inf)
    expected = np.exp(logits - logits.max(-1, keepdims=True))
    expected = (expected / expected.sum(-1, keepdims=True)).mean(1)
    first = {0: 0, 1: 3, 2: 5}
    for pixel, label in enumerate(labels.ravel()):
        count = 3 if label == 0 else 2
        own = expected[pixel, first[label] : first[label] + count]
        np.testing.assert_allclose(weights[pixel, :count], own, atol=1e-5)


def test_recording_changes_no_image(model):
    target = picture(0)
    latents = model.encode(target.image[None], target.labels[None])
    plain = model.generate(target.labels[None], latents)
    keys = jax.random.split(jax.random.key(1), 1)
    labels = target.labels[None].astype(np.int32)
    apply = functools.partial(model.networks.generator.apply, mutable=["intermediates"])
    recorded, _ = jax.jit(apply)(model.variables["generator"], labels, latents, keys)
    np.testing.assert_allclose(recorded, plain, atol=1e-4)


def test_labels_that_are_not_taken_have_the_target_s_weights(model):
    subject, target = picture(1), picture(0)
    own = attention_maps.generator_maps(model, target)
    taken = attention_maps.generator_maps(model, target, subject, labels=[0])
    for name, weights in taken.items():
        labels = attention_maps.labels_of_map(target.labels, weights)
        same = (weights == own[name]).all(-1)
        if name == "block 0, modulation 0":  # later ones see an image that differs
            assert same[labels == 1].all()
            assert not same[labels == 0].all()


def test_pictures_of_maps(model):
    drawn = attention_maps.draw(model, picture(0), picture(1))
    height, width = 14 + 6 * 24, 6 * 16  # enlarged to 128 pixels or more, with captions
    assert drawn["encoder"].shape == (2 * height + 2, 4 * width + 3 * 2, 3)
    assert drawn["generator"].shape[1] == 6 * width + 5 * 2
    one = attention_maps.draw(model, picture(0), picture(1), latent=(1, 0))["encoder"]
    left = 2 * (width + 2)
    block = one[14:height:6, left : left + width : 6]
    assert block.max() == 255
    assert block[picture(0).labels != 1].max() == 0, "a latent of label 1 sees only its pixels"
    whole = panels.attention(model, picture(0), picture(1))
    assert whole.shape[0] == drawn["encoder"].shape[0] + 10 + drawn["generator"].shape[0]


def test_no_such_latent(model):
    with pytest.raises(ValueError, match="label 1 has no latent 2: it has 0 … 1"):
        attention_maps.draw(model, picture(0), picture(1), latent=(1, 2))
    with pytest.raises(ValueError, match="there is no label 3"):
        attention_maps.draw(model, picture(0), picture(1), latent=(3, 0))
