"""A new run takes the weights of another; each label's weights follow the label."""

import jax
import numpy as np
import pytest
from helpers import small
from helpers.closeness import assert_trees_close
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.inference import generation
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.weights import transplant

OLD_NAMES = ["background", "hair", "skin"]


def save_run(config, folder, names=()):
    """A run with random weights at step 7."""
    run_folder.record(config, folder, label_names=names)
    networks = models.build(config)
    saved = state.create(config, networks).replace(step=jax.numpy.int32(7))
    checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS)
    checkpoints.save(saved)
    checkpoints.close()
    return saved


def started(config, folder, names=()):
    return transplant.initial_state(config, models.build(config), folder, names)


def test_the_same_labels_take_all_weights(tmp_path):
    saved = save_run(small.shallow(train__ema_decay=0.5), tmp_path)
    begun = started(small.shallow(seed=3, optimizer__warmup_steps=4), tmp_path)
    assert int(begun.step) == 0
    assert_trees_close(begun.params["discriminator"], saved.params["discriminator"])
    assert_trees_close(begun.eval_variables(), saved.eval_variables())
    assert all(not np.any(x) for x in jax.tree.leaves(begun.opt_state)), "fresh optimizers"


def test_labels_without_a_name_match_by_number():
    data = small.shallow().data
    names = ["background", "hair", ""]
    assert transplant.match(data, names, data, names) == [0, 1, 2]
    assert transplant.match(data, names, data, ["background", "", "hair"]) == [0, 2, None]
    assert transplant.match(data, names, data, OLD_NAMES) == [0, 1, None]
    assert transplant.match(data, (), data, OLD_NAMES) == [0, 1, 2]


def generated(config, variables, image, labels):
    """Reconstructions by a model without noise."""
    networks = models.build(config)
    keys = generation.image_keys(0, np.arange(len(image)))
    return generation.reconstruct(networks, variables, image, labels, keys)


@pytest.mark.parametrize(
    "choices",
    [
        "",
        pytest.param("model=sean", marks=pytest.mark.slow),
        pytest.param("model=clade", marks=pytest.mark.slow),
    ],
)
def test_labels_in_another_order_generate_the_same_pictures(tmp_path, choices):
    """The new run has the labels in another order, and the baselines one more between them.

    A further label changes what SCAM generates, since its norm is over all latents.
    """
    options = {} if choices else {"model__generator__add_noise": False}
    make = small.config if choices else lambda choices, **changes: small.shallow(**changes)
    old = make(choices, **options)
    names = ["background", "skin", *(["hat"] if choices else []), "hair"]
    new = make(choices, data__num_labels=len(names), seed=5, **options)
    saved = save_run(old, tmp_path, OLD_NAMES)
    begun = started(new, tmp_path, names)
    batch = small.batch(old)
    image, labels = batch["image"], batch["label"]
    moved = np.array([names.index(name) for name in OLD_NAMES], np.uint8)[labels]
    theirs = generated(old, saved.eval_variables(), image, labels)
    ours = generated(new, begun.eval_variables(), image, moved)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    one_hot = [jax.nn.one_hot(x, n) for x, n in ((labels, 3), (moved, len(names)))]
    outputs = [
        models.build(c).discriminator.apply(
            {"params": s.params["discriminator"], **s.extra["discriminator"]}, image / 255.0, hot
        )
        for c, s, hot in ((old, saved, one_hot[0]), (new, begun, one_hot[1]))
    ]
    assert_trees_close(outputs[1], outputs[0], atol=1e-4)


@pytest.mark.parametrize(
    ("new", "names", "old", "old_names", "expected"),
    [
        ({}, ["skin", "hat", "hair"], {}, OLD_NAMES, [2, None, 1]),
        ({}, [], {}, OLD_NAMES, [0, 1, 2]),
        ({"data__num_labels": 5}, [], {}, [], [0, 1, 2, None, None]),
        ({"data__label_map": "0|5,6|9"}, [], {"data__label_map": "0|9|5"}, [], [0, 2, 1]),
        ({"data__label_map": "0|7|9"}, [], {"data__label_map": "0|9|5"}, [], [0, None, 1]),
        (
            {"data__label_map": "1|2|*", "data__ignore_label": 0},
            [],
            {"data__label_map": "1|2|3|*", "data__ignore_label": 0, "data__num_labels": 4},
            [],
            [0, 1, 2],
        ),
    ],
)
def test_labels_are_matched_by_name_or_number(new, names, old, old_names, expected):
    new, old = small.config(**new).data, small.config(**old).data
    assert transplant.match(new, names, old, old_names) == expected


def test_labels_that_were_matched_by_unlike_numbers_are_told(tmp_path, caplog):
    save_run(small.shallow(data__label_map="0|9|5"), tmp_path, OLD_NAMES)
    started(small.shallow(data__label_map="0|9|5"), tmp_path)
    assert "different config.data.label_map" not in caplog.text
    started(small.shallow(data__label_map="0|5|7"), tmp_path)
    assert "different config.data.label_map" in caplog.text
    assert "wrong: label 0 from background, label 1 from skin" in caplog.text


def test_other_networks_are_refused(tmp_path):
    save_run(small.shallow(), tmp_path)
    with pytest.raises(ValueError, match=r"config\.model\.latent_dim = 32, .* with 16: give"):
        started(small.shallow(model__latent_dim=32), tmp_path)


def test_a_run_without_weights_is_refused(tmp_path):
    run_folder.record(small.shallow(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"--init_from=.*: the run has no checkpoint yet"):
        started(small.shallow(), tmp_path)


@pytest.mark.slow
def test_labels_of_groups_must_be_the_same(tmp_path):
    """There are more channels than labels, so that a further label changes no shape by itself."""
    config = small.config("model=groupdnet", model__generator__features=30)
    saved = save_run(config, tmp_path, OLD_NAMES)
    begun = started(config, tmp_path, OLD_NAMES)
    assert_trees_close(begun.eval_variables(), saved.eval_variables())
    with pytest.raises(ValueError, match="grouped by label"):
        started(config, tmp_path, OLD_NAMES[::-1])


def test_weights_of_another_image_size_are_taken(tmp_path):
    """SCAM's networks have no parameters of the image's size."""
    saved = save_run(small.shallow(), tmp_path, OLD_NAMES)
    begun = started(small.shallow(data__height=32), tmp_path, OLD_NAMES)
    assert_trees_close(begun.eval_variables(), saved.eval_variables())


def test_weights_of_another_image_size_are_named():
    def tree(width):
        return {"params": {"generator": {"fc": {"kernel": np.zeros((8, width))}}}}

    old = small.config(data__height=32).data
    with pytest.raises(
        ValueError,
        match=r"--init_from=run: generator/fc/kernel has the shape \(8, 4\) there and \(8, 2\) "
        r"here.*--config.data.height=32 --config.data.width=16",
    ):
        transplant._check_sizes(tree(2), tree(4), ConfigDict({"data": old}), "run")
    transplant._check_sizes(tree(2), tree(2), ConfigDict({"data": old}), "run")
