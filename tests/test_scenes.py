"""The drawn people: deterministic, exactly labelled, and with known transfers."""

import dataclasses

import numpy as np
import pytest

from data.synthetic import scenes


def sample(seed: int):
    rng = np.random.default_rng(seed)
    return scenes.Background.sample(rng), scenes.Pose.sample(rng), scenes.Appearance.sample(rng)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - truth.astype(float)) ** 2))


def repaint_with_means(subject, target, height: int, width: int) -> np.ndarray:
    """Paints the subject's mean colour of each region into the target's label map."""
    image, label = scenes.draw(*subject, height, width)
    painted, target_label = scenes.draw(*target, height, width)
    painted = painted.astype(float)
    for region in np.unique(target_label[target_label > 0]):
        if np.any(label == region):
            painted[target_label == region] = image[label == region].mean(axis=0)
    return painted


@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 256), (96, 64), (48, 80), (1, 1)])
def test_draws_any_size(height, width):
    image, label = scenes.draw(*sample(0), height, width)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert label.shape == (height, width)
    assert label.dtype == np.uint8
    assert label.max() < scenes.NUM_LABELS


def test_same_seed_same_scene_and_other_seed_another():
    first, again, other = (scenes.draw(*sample(seed), 64, 64) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.any(first[0] != other[0])


def test_every_region_is_seen_but_for_a_hat_that_is_not_worn():
    hats = 0
    for seed in range(200):
        scene = sample(seed)
        _, label = scenes.draw(*scene, 64, 64)
        shares = np.bincount(label.ravel(), minlength=scenes.NUM_LABELS) / label.size
        worn = scene[1].hat != "none"
        hats += worn
        assert (shares[scenes.LABELS.index("hat")] > 0) == worn
        shown = scenes.NUM_LABELS - (not worn)
        assert np.sum(shares > 0.008) == shown, (
            seed,
            dict(zip(scenes.LABELS, shares, strict=True)),
        )
    assert 60 < hats < 180


def test_two_resolutions_show_the_same_scene():
    for seed in range(10):
        scene = sample(seed)
        image, label = scenes.draw(*scene, 64, 64)
        # Thrice the size: its pixels 1, 4, 7, … have the very centres of the small one's.
        large_image, large_label = scenes.draw(*scene, 192, 192)
        assert np.mean(large_label[1::3, 1::3] == label) > 0.999
        assert np.mean(large_image[1::3, 1::3] == image) > 0.999


def test_labels_depend_on_the_pose_alone():
    first, second = sample(5), sample(6)
    _, label = scenes.draw(*first, 64, 64)
    _, other = scenes.draw(second[0], first[1], second[2], 64, 64)
    np.testing.assert_array_equal(label, other)


def test_background_shows_around_the_person_and_nothing_of_it_inside():
    background, pose, appearance = sample(7)
    image, label = scenes.draw(background, pose, appearance, 64, 64)
    bright = dataclasses.replace(
        background, wall_top=(1, 1, 1), wall_bottom=(1, 1, 1), floor=(1, 1, 1), things=()
    )
    blank, _ = scenes.draw(bright, pose, appearance, 64, 64)
    np.testing.assert_array_equal(image[label > 0], blank[label > 0])
    assert np.all(blank[label == 0] == 255)


def test_perfect_transfer_keeps_the_targets_scene_and_changes_its_person():
    for seed in range(0, 20, 2):
        subject, target = sample(seed), sample(seed + 1)
        image, label = scenes.draw(*target, 64, 64)
        truth, truth_label = scenes.draw(target[0], target[1], subject[2], 64, 64)
        np.testing.assert_array_equal(truth_label, label)
        np.testing.assert_array_equal(truth[label == 0], image[label == 0])
        for region in range(1, scenes.NUM_LABELS):
            inside = label == region
            assert not inside.any() or np.any(truth[inside] != image[inside])


def test_one_mean_colour_per_region_is_not_enough():
    scores = []
    for seed in range(0, 80, 2):
        subject, target = sample(seed), sample(seed + 1)
        truth, label = scenes.draw(target[0], target[1], subject[2], 64, 64)
        painted = repaint_with_means(subject, target, 64, 64)
        scores.append(psnr(painted[label > 0], truth[label > 0]))
    assert 10 < np.mean(scores) < 15


@pytest.mark.parametrize(("height", "width"), [(0, 64), (64, -1)])
def test_impossible_size(height, width):
    with pytest.raises(ValueError, match=rf"{height}×{width} pixels: both must be at least 1"):
        scenes.draw(*sample(0), height, width)
