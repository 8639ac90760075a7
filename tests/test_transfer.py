"""Using a trained model: what comes from whom, sizes, and inputs that cannot be used."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small

from scam_jax import images, models
from scam_jax.examples import Picture
from scam_jax.inference import panels, sources
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
        taken = sources.taken(model.config.data.num_labels, labels)
        assert taken.tolist() == [bool(c) for c in chosen]
        mixed = model.networks.encoder.mix(sources.published(taken), subject, target)
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
        mixed = encoder.mix(sources.published(np.array(chosen, bool)), subject, target)
        for leaf in jax.tree.leaves(mixed):
            expected = jnp.where(owners < 0, max(chosen), jnp.array(chosen)[owners.astype(int)])
            np.testing.assert_array_equal(leaf, jnp.broadcast_to(expected, leaf.shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda image, labels: (image / 255, labels),
            r"images are float64 .* uint8 \(1, 20, 16",
        ),
        (
            lambda image, labels: (image.repeat(2, 1), labels.repeat(2, 1)),
            r"maps are .*\[B, 20, 16\]",
        ),
        (lambda image, labels: (image[:, :8], labels), r"images are uint8 \(1, 8, 16, 3\): need"),
        (lambda image, labels: (image, labels + 3), r"a label map has values 3 … 5: need .* 0 … 2"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(model, change, message):
    image, labels = (array[None] for array in picture(0))
    wrong = change(image, labels)
    for draw in (
        lambda: model.reconstruct_batch(*wrong),
        lambda: model.transfer_batch(*wrong, image, labels),
        lambda: model.transfer_batch(image, labels, *wrong),
    ):
        with pytest.raises(ValueError, match=message):
            draw()


NAMES = ("background", "skin", "coat")


@pytest.mark.parametrize(
    ("rule", "coats"),
    [
        ("guess", [2, 2, 2]),
        ("target", [2, -1, -1]),
        ("coat<skin", [2, 1, -1]),
        ("2<1,skin<coat", [2, 1, -1]),
    ],
)
def test_what_stands_in_for_labels_that_a_subject_lacks(rule, coats):
    """The first subject has all labels, the second skin, the third nothing."""
    labels = np.array([[[0, 1, 2]], [[0, 1, 1]], [[0, 0, 0]]])
    parsed = sources.AbsentRule.parse(rule, 3, NAMES)
    found = sources.find(sources.taken(3, ["coat"], NAMES), labels, parsed)
    assert found[:, 2].tolist() == coats
    assert (found[:, :2] == -1).all()


def test_each_subject_of_a_batch_has_its_own_stand_ins(model):
    """By the latents: three are the background's, then two a label."""
    subject, target = jnp.arange(14.0).reshape(2, 7, 1), jnp.full((2, 7, 1), -1.0)
    mixed = model.networks.encoder.mix(np.array([[-1, 1, 1], [0, -1, 2]]), subject, target)
    assert mixed[..., 0].tolist() == [[-1, -1, -1, 3, 4, 3, 4], [7, 8, 9, -1, -1, 12, 13]]


def test_labels_that_a_subject_lacks_stay_the_targets(model):
    subject, target = picture(0), picture(1)
    only_background = np.zeros_like(subject.labels)
    kept = model.transfer(subject.image, only_background, *target)
    np.testing.assert_array_equal(kept, model.reconstruct(*target))
    published = model.transfer(subject.image, only_background, *target, absent="guess")
    assert np.any(published != kept)
    one = np.minimum(subject.labels, 1)  # no label 2
    stand_in = model.transfer(subject.image, one, *target, absent="2<1")
    assert np.any(stand_in != model.transfer(subject.image, one, *target))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("nothing", "there is no label 'nothing': this model has background, skin, coat"),
        ("coat", "absent='coat': need guess, target or LABEL<STAND-IN"),
        ("coat<skim", "there is no label 'skim': did you mean 'skin'?"),
        ("coat<7", "there is no label 7: this model has 0 … 2"),
        ("coat<background", "label 0, the background, has no stand-in"),
    ],
)
def test_a_wrong_rule_says_what_is_known(rule, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        sources.AbsentRule.parse(rule, 3, NAMES)


def test_what_stands_in_is_said_by_name():
    taken, maps = np.array([False, True, True]), (np.array([[0, 1]]), np.array([[1, 2]]))
    for rule, remedy in (
        ("guess", "a guess stands in"),
        ("target", "the target's stays"),
        ("coat<skin", "its skin stands in"),
    ):
        (said,) = sources.remarks(taken, *maps, sources.AbsentRule.parse(rule, 3, NAMES), NAMES)
        assert said == f"the subject has no coat, which the label map shows: {remedy}"


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
    sheet = panels.contact_sheet(model, [(picture(0), picture(1)), (picture(2), picture(3))])
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
