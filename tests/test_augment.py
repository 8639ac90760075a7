"""Augmentation: how often and how far it changes examples, and that label maps stay on images."""

import colorsys
import itertools

import numpy as np
import pytest

from data import augment
from data.augment import TRAINING
from scam_jax.examples import Picture
from scam_jax.inference import fitting
from scam_jax.inference.fitting import FITTING

SIZES = [(40, 40), (48, 27), (27, 48), (1, 30), (30, 1), (1, 1)]
OUTPUTS = [(32, 21), (16, 16), (9, 25)]
VALUES = [0, 3, 18, 150, 255]
BLOCK, COLUMNS = 30, 6


def generators(count):
    return (np.random.default_rng((7, i)) for i in range(count))


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return {"image": image, "label": rng.choice(np.array(VALUES, np.uint8), (height, width))}


def blocks():
    """Blocks of colours that are their labels, ten times."""
    label = np.arange(4 * COLUMNS, dtype=np.uint8).reshape(4, COLUMNS)
    label = label.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    return {"image": np.stack([label * 10] * 3, axis=-1), "label": label}


def fitted(function, example, height, width):
    picture = function(Picture.of(example), height, width)
    return {"image": picture.image, "label": picture.labels}


def resize(example, height, width):
    return fitted(fitting.resize, example, height, width)


def center_crop(example, height, width):
    return fitted(fitting.center_crop, example, height, width)


def mirrored(example):
    return {name: array[:, ::-1] for name, array in example.items()}


def assert_same(ours, expected):
    assert set(ours) == set(expected) == {"image", "label"}
    for name in ours:
        np.testing.assert_array_equal(ours[name], expected[name])


def assert_share(share, probability, count):
    assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / count)


@pytest.fixture
def without_jitter(monkeypatch):
    monkeypatch.setattr(augment, "_JITTER_PROBABILITY", 0)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("size", SIZES)
def test_any_size_becomes_the_size_asked_for(size, output):
    example = noise(*size)
    results = [fitted(function, example, *output) for function in FITTING.values()]
    for function, rng in itertools.product(TRAINING.values(), generators(5)):
        results.append(function(example, rng, *output))
    for result in results:
        assert (result["image"].shape, result["image"].dtype) == ((*output, 3), np.uint8)
        assert (result["label"].shape, result["label"].dtype) == (output, np.uint8)
        assert set(np.unique(result["label"])) <= set(np.unique(example["label"]))


@pytest.mark.parametrize("name", ["basic", "crop"])
def test_the_generator_decides_all(name):
    def run(seed, example):
        return TRAINING[name](example, np.random.default_rng(seed), 32, 32)

    example = noise(40, 30)
    assert_same(run(1, example), run(1, example))
    seen = {run(seed, example)["image"].tobytes() for seed in range(20)}
    assert len(seen) > 15
    # What the image shows does not change what becomes of its label map.
    other = example | {"image": np.zeros_like(example["image"])}
    for seed in range(20):
        labels = run(seed, example)["label"]
        np.testing.assert_array_equal(run(seed, other)["label"], labels)


@pytest.mark.parametrize("name", TRAINING)
def test_image_and_label_map_stay_aligned(name, without_jitter):
    for rng in generators(40):
        result = TRAINING[name](blocks(), rng, 96, 64)
        # Away from the edges of the blocks, where colours mix.
        windows = np.lib.stride_tricks.sliding_window_view(result["label"], (9, 9))
        even = (windows == windows[..., :1, :1]).all(axis=(2, 3))
        assert even.mean() > 0.1
        colours = result["image"][4:-4, 4:-4, 0][even]
        np.testing.assert_array_equal(colours, 10 * windows[even][:, 0, 0])


@pytest.mark.parametrize("name", ["basic", "crop"])
def test_mirrored_is_the_mirrored_example(name, without_jitter, monkeypatch):
    example = noise(40, 30)

    def run(flip_probability):
        monkeypatch.setattr(augment, "_FLIP_PROBABILITY", flip_probability)
        return [TRAINING[name](example, rng, 16, 16) for rng in generators(20)]

    for flipped, unflipped in zip(run(1), run(0), strict=True):
        np.testing.assert_array_equal(flipped["image"], unflipped["image"][:, ::-1])
    for probability in ("_RESIZED_CROP_PROBABILITY", "_PORTRAIT_CROP_PROBABILITY"):
        monkeypatch.setattr(augment, probability, 0)
    for flipped in run(1):
        assert_same(flipped, resize(mirrored(example), 16, 16))


def test_mirroring_exchanges_left_and_right(without_jitter, monkeypatch):
    monkeypatch.setattr(augment, "_FLIP_PROBABILITY", 1)
    monkeypatch.setattr(augment, "_RESIZED_CROP_PROBABILITY", 0)
    names = ["skin", "l_eye", "r_eye", "Left arm", "l_ear", "leg", "right Arm"]
    mirrored_labels = augment.mirrored_labels([[name] for name in names])
    assert mirrored_labels[: len(names)].tolist() == [0, 2, 1, 6, 4, 5, 3]
    assert mirrored_labels[255] == 255
    alike = ["background", "T-shirt", "t shirt", "?", "-", "left arm", "Left arm", "right arm"]
    kept = augment.mirrored_labels([[name] for name in alike])
    assert kept[: len(alike)].tolist() == [*range(len(alike))]
    sides = ("left arm", "left leg", "left shoe", "left hand"), ("right hand", "right arm")
    both = sides[0], (*sides[1], "right leg", "right shoe"), ("l_eye", "r_eye"), ()
    assert augment.mirrored_labels(both)[:4].tolist() == [1, 0, 2, 3]
    assert augment.mirrored_labels(sides)[:2].tolist() == [0, 1]
    example = {"image": np.zeros((1, 4, 3), np.uint8), "label": np.uint8([[0, 1, 2, 6]])}
    mirrored = augment.basic(example, np.random.default_rng(0), 1, 4, mirrored_labels)
    assert mirrored["label"].tolist() == [[3, 1, 2, 0]]


@pytest.mark.parametrize(("name", "crops"), [("none", 0), ("basic", 0.7), ("crop", 0.6)])
def test_how_often(name, crops, monkeypatch):
    jittered = []
    monkeypatch.setattr(augment, "jitter", lambda image, rng: jittered.append(1) or image)
    # Red grows with the row, green with the column.
    rows, columns = np.mgrid[:40, :40].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=-1)
    example, count = {"image": image, "label": image[..., 0]}, 2000
    seen = []
    for rng in generators(count):
        before = len(jittered)
        result = TRAINING[name](example, rng, 40, 40)["image"]
        flip = result[0, 0, 1] > result[0, -1, 1]
        cut = (result != (image[:, ::-1] if flip else image)).any()
        seen.append((flip, cut, len(jittered) > before))
    flips, cuts, jitters = np.array(seen).T
    if name == "none":
        assert not (flips | cuts | jitters).any()
        return
    assert_share(flips.mean(), 0.5, count)
    assert_share(cuts.mean(), crops, count)
    assert_share(jitters.mean(), 0.4, count)
    # And none of them goes by another.
    assert_share((flips & cuts).mean(), 0.5 * crops, count)
    assert_share((flips & jitters).mean(), 0.5 * 0.4, count)
    assert_share((cuts & jitters).mean(), crops * 0.4, count)


def test_none_only_resizes_and_draws_nothing():
    rng = np.random.default_rng(3)
    assert_same(TRAINING["none"](noise(30, 50), rng, 16, 20), resize(noise(30, 50), 16, 20))
    assert rng.random() == np.random.default_rng(3).random()
    example = noise(16, 20)
    assert_same(TRAINING["none"](example, rng, 16, 20), example)


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(300, 300, 1.0), (200, 260, 1.3), (300, 200, 2 / 3)]
)
def test_boxes_of_basic(height, width, shape):
    drawn = [augment.resized_crop_box(rng, height, width, shape) for rng in generators(500)]
    top, left, rows, columns = np.array(drawn).T
    area, ratio = rows * columns / (height * width), columns / rows
    assert 0.49 < area.min() < 0.53
    assert 0.9 < area.max() <= 1
    np.testing.assert_allclose(ratio, shape, rtol=0.01)
    assert min(top.min(), left.min()) == 0
    assert (top + rows).max() == height
    assert (left + columns).max() == width


@pytest.mark.parametrize(
    ("size", "ratio", "largest"),
    [((30, 300), 4 / 3, (30, 40)), ((300, 30), 3 / 4, (40, 30)), ((1, 300), 1.0, (1, 1))],
)
def test_boxes_of_basic_in_photos_of_another_shape(size, ratio, largest):
    boxes = [augment.resized_crop_box(rng, *size, ratio) for rng in generators(200)]
    areas = [box.height * box.width / np.prod(largest) for box in boxes]
    assert max(areas) <= 1
    assert min(areas) == pytest.approx(0.5 if np.prod(largest) > 1 else 1, abs=0.05)
    assert len({(box.top, box.left) for box in boxes}) > 50, "they lie anywhere"
    assert all(box.top + box.height <= size[0] for box in boxes)
    assert all(box.left + box.width <= size[1] for box in boxes)


@pytest.mark.parametrize("height", [512, 1024])
def test_boxes_of_crop(height):
    count = 2000
    drawn = [augment.portrait_crop_box(rng, height, 800) for rng in generators(count)]
    top, left, rows, columns = np.array(drawn).T
    assert set(zip(rows, columns, strict=True)) == {(r, round(0.664 * r)) for r in set(rows)}
    rows = rows * 512 / height
    np.testing.assert_array_equal(rows, rows.round())
    large = rows > 400
    assert_share(large.mean(), 0.7, count)
    # The extremes and the middles of the two ranges.
    assert [rows.min(), rows.max()] == pytest.approx([128, 512], abs=3)
    assert rows[large].mean() == pytest.approx(456, abs=4)
    assert rows[~large].mean() == pytest.approx(264, abs=15)
    assert (top + rows * height / 512).max() <= height
    assert (left + columns).max() <= 800


def test_a_box_of_crop_is_at_most_as_wide_as_the_image():
    drawn = [augment.portrait_crop_box(rng, 512, 100) for rng in generators(300)]
    # 128 of 512 rows are 85 columns; from 151 on, it is all columns.
    assert {(b.height, b.width) for b in drawn if b.width == 100} >= {(151, 100)}
    assert all(b.width == round(0.664 * b.height) for b in drawn)
    assert max(b.height for b in drawn) == 151
    tops = [b.top for b in drawn if b.height == 151]
    assert min(tops) < 20
    assert 341 < max(tops) <= 361


def test_every_place_is_as_likely():
    drawn = [augment.portrait_crop_box(rng, 6, 6) for rng in generators(3000)]
    places = [(box.top, box.left) for box in drawn if box[2:] == (5, 3)]
    assert len(places) > 900
    for place in itertools.product(range(2), range(4)):
        assert_share(places.count(place) / len(places), 1 / 8, len(places))


@pytest.mark.parametrize("name", FITTING)
def test_evaluation_never_mirrors(name):
    image = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None], (40, 60, 3))
    example = {"image": image, "label": image[..., 0]}
    result = fitted(FITTING[name], example, 20, 24)
    assert (np.diff(result["image"][..., 0].astype(int), axis=1) > 0).all()
    assert (np.diff(result["label"].astype(int), axis=1) > 0).all()
    assert_same(fitted(FITTING[name], example, 20, 24), result)


def test_what_is_evaluated_on():
    example = noise(40, 64)
    for name, function in (
        ("none", resize),
        ("basic", resize),
        ("crop", center_crop),
    ):
        assert_same(fitted(FITTING[name], example, 20, 20), function(example, 20, 20))
    assert set(FITTING) == set(TRAINING)


@pytest.mark.parametrize("turned", [False, True])
def test_center_crop_takes_the_centre(turned):
    example = noise(40, 64)
    expected = {name: array[:, 12:52] for name, array in example.items()}
    if turned:
        example, expected = (
            {name: np.ascontiguousarray(array.swapaxes(0, 1)) for name, array in e.items()}
            for e in (example, expected)
        )
    assert_same(center_crop(example, 40, 40), expected)
    result = center_crop(example, 20, 20)
    np.testing.assert_array_equal(result["label"], expected["label"][::2, ::2])
    assert_same(result, resize(expected, 20, 20))
    # A small image is enlarged until it covers the output.
    result = center_crop(example, 80, 80)
    np.testing.assert_array_equal(result["label"][::2, ::2], expected["label"])


def test_center_crop_of_an_output_that_is_not_square():
    example = noise(40, 64)
    result = center_crop(example, 20, 10)
    np.testing.assert_array_equal(result["label"], example["label"][::2, 22:42:2])
    result = center_crop(example, 10, 32)
    np.testing.assert_array_equal(result["label"], example["label"][10:30:2, ::2])


def jittered(image, count):
    return [augment.jitter(image, rng) for rng in generators(count)]


def test_jitter_changes_the_image_alone(monkeypatch):
    example = noise(30, 40)
    for name, rng, same_rng in zip(["basic", "crop"], generators(2), generators(2), strict=True):
        monkeypatch.setattr(augment, "_JITTER_PROBABILITY", 1)
        changed = TRAINING[name](example, rng, 30, 40)
        monkeypatch.setattr(augment, "_JITTER_PROBABILITY", 0)
        same = TRAINING[name](example, same_rng, 30, 40)
        np.testing.assert_array_equal(changed["label"], same["label"])
        assert (changed["image"] != same["image"]).any()


def test_jitter_of_brightness_and_contrast():
    """On grey, where hue and saturation do nothing."""
    image = np.full((4, 4, 3), 120, np.uint8)
    even = np.array([result[0, 0, 0] for result in jittered(image, 300)]) / 120
    assert [even.min(), even.max()] == pytest.approx([0.8, 1.2], abs=0.02)
    image[::2] = 100
    image[1::2] = 140
    contrasts = [np.ptp(result.astype(int)) / result.mean() for result in jittered(image, 300)]
    contrasts = np.array(contrasts) / (40 / 120)
    assert [contrasts.min(), contrasts.max()] == pytest.approx([0.8, 1.2], abs=0.05)


def test_jitter_of_hue_and_saturation():
    """On one colour that stays away from black and white."""
    image = np.full((2, 2, 3), (160, 100, 100), np.uint8)
    colours = np.array([result[0, 0] for result in jittered(image, 1000)]) / 255
    hues = np.array([colorsys.rgb_to_hsv(*colour)[0] for colour in colours])
    shifts = (hues + 0.5) % 1 - 0.5
    assert [shifts.min(), shifts.max()] == pytest.approx([-0.2, 0.2], abs=0.015)
    # Brightness and contrast alone would change it by 0.8² … 1.2².
    chroma = np.ptp(colours, axis=1) / (60 / 255)
    assert 0.8**3 - 0.05 < chroma.min() < 0.8**2 - 0.05
    assert 1.2**2 + 0.05 < chroma.max() < 1.2**3 + 0.05


@pytest.mark.parametrize("name", TRAINING)
def test_image_and_label_map_of_different_size(name):
    example = {"image": noise(8, 6)["image"], "label": noise(4, 3)["label"]}
    with pytest.raises(
        ValueError, match=r"label map of shape \(4, 3\), image of shape \(8, 6, 3\): make"
    ):
        TRAINING[name](example, np.random.default_rng(0), 8, 8)
