"""Using a trained model: what comes from whom, sizes, and inputs that cannot be used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small

from scam_jax import images, models
from scam_jax.examples import Picture
from scam_jax.inference.generation import taken
from scam_jax.inference.model import TrainedModel
from scam_jax.training import state


@pytest.fixture(scope="module")
def model():
    config = small.config(model__generator__add_noise=False, data__height=20)
    return TrainedModel(config, state.create(config, models.build(config)).eval_variables())


def picture(seed, height=20, width=16):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(image, random.integers(0, 3, (height, width), dtype=np.uint8))


def test_nothing_taken_from_the_subject_is_a_reconstruction(model):
    subject, target = picture(0), picture(1)
    np.testing.assert_array_equal(
        model.transfer(*subject, *target, labels=[]), model.reconstruct(*target)
    )


def test_the_default_is_all_but_the_background(model):
    subject, target = picture(0), picture(1)
    default = model.transfer(*subject, *target)
    np.testing.assert_array_equal(default, model.transfer(*subject, *target, labels=[1, 2]))
    assert np.any(default != model.transfer(*subject, *target, labels=[0, 1, 2]))


def test_labels_taken(model):
    """From the labels to the latents: three are the background's, then two a label."""
    subject, target = jnp.ones((1, 7, 1)), jnp.zeros((1, 7, 1))
    for labels, chosen, expected in (
        (None, [0, 1, 1], [0, 0, 0, 1, 1, 1, 1]),
        ([0], [1, 0, 0], [1, 1, 1, 0, 0, 0, 0]),
        ([2], [0, 0, 1], [0, 0, 0, 0, 0, 1, 1]),
    ):
        from_subject = taken(model.config.data.num_labels, labels)
        assert from_subject.tolist() == [bool(c) for c in chosen]
        mixed = model.networks.encoder.mix(jnp.asarray(from_subject), subject, target)
        assert mixed[0, :, 0].tolist() == expected


def _codes(family):
    """Encoder of a family, its latents of 1 and which label each entry is of (-1: of all)."""
    labels = jnp.arange(3)[None, :, None]
    return {
        "spade": (jnp.ones((1, 8)), -jnp.ones((1, 8))),
        "clade": (jnp.ones((1, 8)), -jnp.ones((1, 8))),
        "sean": (jnp.ones((1, 3, 8)), labels),
        "sean_clade": (jnp.ones((1, 3, 8)), labels),
        "inade": ((jnp.ones((1, 3, 8)), jnp.ones((1, 3, 8))), labels),
        "groupdnet": (jnp.ones((1, 4, 4, 24)), jnp.repeat(jnp.arange(3), 8)),
    }[family]


@pytest.mark.parametrize("family", [name for name in models.FAMILIES if name != "scam"])
def test_latents_of_baselines_are_mixed_by_label(family):
    """SPADE's and CLADE's whole code is the subject's, if anything of it is taken."""
    encoder = models.build(small.config(f"model={family}")).encoder
    subject, owners = _codes(family)
    target = jax.tree.map(jnp.zeros_like, subject)
    for chosen in ([0, 1, 0], [1, 0, 1], [0, 0, 0]):
        mixed = encoder.mix(jnp.array(chosen, bool), subject, target)
        for leaf in jax.tree.leaves(mixed):
            expected = jnp.where(owners < 0, max(chosen), jnp.array(chosen)[owners.astype(int)])
            np.testing.assert_array_equal(leaf, jnp.broadcast_to(expected, leaf.shape))


def test_labels_that_an_image_lacks(model):
    subject, target = picture(0), picture(1)
    only_background = np.zeros_like(subject.labels)
    assert model.transfer(subject.image, only_background, *target).shape == (20, 16, 3)


def test_other_sizes_are_resized_and_said(model, caplog):
    big = picture(0, 40, 30)
    assert model.reconstruct(*big).shape == (20, 16, 3)
    assert "image image resized from (40, 30) to 20×16" in caplog.text
    assert "image label map resized from (40, 30) to 20×16" in caplog.text


def test_unknown_label(model):
    with pytest.raises(ValueError, match=r"there is no label 3: this model has 0 … 2"):
        model.transfer(*picture(0), *picture(1), labels=[3])


def test_label_map_with_unknown_values(model):
    image, labels = picture(0)
    with pytest.raises(ValueError, match=r"target label map .* 0 … 9: need .* labels 0 … 2"):
        model.transfer(*picture(1), image, np.where(labels == 2, 9, labels))


def test_labels_of_another_type_or_shape(model, caplog):
    image, labels = picture(0)
    with pytest.raises(ValueError, match=r"label map is float64 .*: need uint8 \[H, W\]"):
        model.fit("image", Picture(image, labels / 2))
    model.fit("image", Picture(image, labels[:5]))
    assert "image label map has the shape 5×16, but its image 20×16" in caplog.text


def test_image_of_another_type(model):
    image, labels = picture(0)
    with pytest.raises(ValueError, match=r"image image is float64 .*: need uint8"):
        model.reconstruct(image / 255, labels)


def test_contact_sheet(model):
    sheet = model.contact_sheet([(picture(0), picture(1)), (picture(2), picture(3))])
    assert sheet.shape == (2 * 20 + 2, 6 * 16 + 5 * 2, 3)
    np.testing.assert_array_equal(sheet[:20, :16], picture(0).image)


def test_no_run_in_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json is missing: .* holds no run"):
        TrainedModel.load(tmp_path)


def test_pictures():
    colours = images.palette(19)
    assert len({tuple(c) for c in colours}) == 19
    assert images.to_uint8(np.array([-2.0, -1.0, 0.0, 1.0])).tolist() == [0, 0, 128, 255]
    assert images.colorize(np.array([[0, 2]]), 3).shape == (1, 2, 3)
