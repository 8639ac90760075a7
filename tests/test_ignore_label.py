"""Pixels to leave out: nothing depends on their colours, in training, evaluation or pictures."""

import jax
import numpy as np
import pytest
from helpers import formulas, small, small_folder
from helpers.evaluation import FewNumbers, evaluation_of, examples
from ml_collections import ConfigDict
from PIL import Image

from configs import common
from data import datasets
from data.checker import findings, presentation
from scam_jax import images, models
from scam_jax.evaluation import metrics
from scam_jax.evaluation.data import paint_mean_colours
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.model import TrainedModel
from scam_jax.models.scam import regions
from scam_jax.training import losses, state
from scam_jax.training.objectives import gradients_of_batch

IGNORED = 3  # one more than the last label of the small configs


def with_other_colours(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image with the colours of its left-out pixels inverted."""
    return np.where((labels == IGNORED)[..., None], 255 - image, image)


def seen_of(shape: tuple[int, ...]) -> np.ndarray:
    """All but a rectangle."""
    seen = np.ones(shape, bool)
    seen[:, 2:9, 3:11] = False
    return seen


# Label numbers


@pytest.mark.parametrize(
    ("text", "num_labels", "ignore_label", "numbers", "labels"),
    [
        ("", 3, 255, (0, 1, 2, 255), (0, 1, 2, 3)),
        ("", 3, 1, (0, 1, 2), (0, 3, 2)),
        ("0|*", 2, 255, (0, 7, 254, 255), (0, 1, 1, 2)),
        ("1|2", 2, 0, (0, 1, 2), (2, 0, 1)),
    ],
)
def test_left_out_pixels_get_the_number_after_the_last_label(
    text, num_labels, ignore_label, numbers, labels
):
    label_map = LabelMap(text, num_labels, ignore_label)
    assert label_map(np.array(numbers, np.uint8), "a.png").tolist() == list(labels)


@pytest.mark.parametrize(
    ("text", "num_labels", "ignore_label", "message"),
    [
        ("0|1,255", 2, 255, r"255 is there, but config\.data\.ignore_label = 255 leaves"),
        ("", 3, 256, r"config\.data\.ignore_label = 256: use the number 0 … 255"),
        ("", 3, -2, r"config\.data\.ignore_label = -2: use the number 0 … 255"),
        ("", 256, 255, r"num_labels = 256: use 1 … 255 beside config\.data\.ignore_label"),
    ],
)
def test_numbers_that_cannot_be_left_out(text, num_labels, ignore_label, message):
    with pytest.raises(ValueError, match=message):
        LabelMap(text, num_labels, ignore_label)


def test_a_single_number_without_a_label_suggests_to_leave_it_out():
    with pytest.raises(ValueError, match=r"out with config\.data\.ignore_label=255$"):
        LabelMap("", 3)(np.array([0, 1, 2, 255], np.uint8), "a.png")


@pytest.mark.parametrize(("ignore_label", "num_labels"), [(2, 2), (1, 3)])
def test_a_colour_may_be_left_out(ignore_label, num_labels):
    colors = LabelColors("colors.txt", ((0, 0, 0), (1, 1, 1), (2, 2, 2)), ("a", "b", "c"))
    label_map = LabelMap("", num_labels, ignore_label)
    colors.require_labels(label_map)
    expected = {2: ("a", "b"), 1: ("a", "", "c")}[ignore_label]
    assert colors.label_names(label_map) == expected
    with pytest.raises(ValueError, match=r"ignore_label = 3, but colors\.txt .* numbers 0 … 2"):
        colors.require_labels(LabelMap("", 3, 3))


# Files


@pytest.fixture
def root(tmp_path):
    """A folder whose label maps have 255 in their first rows."""
    small_folder.make(tmp_path)
    for file in tmp_path.glob("*/labels/*.png"):
        numbers = np.array(Image.open(file))
        numbers[:2] = 255
        Image.fromarray(numbers).save(file)
    return tmp_path


def data(root, **changes) -> ConfigDict:
    config = common.base().data
    values = {"directory": str(root), "num_labels": small_folder.NUM_LABELS, "ignore_label": 255}
    config.update({**values, "height": 30, "width": 20, **changes})
    return config


def test_every_reader_marks_left_out_pixels(root, caplog):
    config = data(root)
    example = datasets.load(config, "train")[0]["label"]
    assert (example[:4] == small_folder.NUM_LABELS).all()
    assert example[4:].max() < small_folder.NUM_LABELS
    files = root / "train/images/a.jpg", root / "train/labels/a.png"
    read = TrainedModel(ConfigDict({"data": config}), {}).read(*files).labels
    np.testing.assert_array_equal(read, example)
    assert "a.png leaves 80 of 600 pixels out (config.data.ignore_label = 255)" in caplog.text


def test_the_checker_counts_left_out_pixels(root, tmp_path):
    report = findings.check(root, ignore_label=255)
    assert (report.faults, report.label_map.num_labels) == ((), small_folder.NUM_LABELS)
    text = presentation.describe(report, tmp_path / "check.png")
    assert "  Pixels left out: 60 of train, 60 of test" in text.splitlines()
    assert text.endswith(" --config.data.ignore_label=255 --config.data.num_labels=5")
    assert presentation.draw(report).any()
    assert len(findings.check(root, num_labels=small_folder.NUM_LABELS).faults) == 6


def test_left_out_pixels_are_white_in_pictures():
    assert images.colorize(np.array([IGNORED]), IGNORED).tolist() == [[255, 255, 255]]


# Networks and losses


@pytest.mark.parametrize(("num_labels", "pixels"), [(4, 50), (9, 3001)])
def test_regions_without_left_out_pixels(num_labels, pixels):
    """Few pixels, and tiles: as if the latents of the label after the last were 0."""
    random = np.random.default_rng(0)
    labels = random.integers(0, num_labels + 1, (2, pixels))
    found = jax.jit(regions.find_regions, static_argnums=(1, 2))(labels, num_labels, True)
    assert (found.tiles is None) == (pixels == 50)
    x = random.standard_normal((2, pixels, 5)).astype(np.float32)
    table = random.standard_normal((2, num_labels, 3, 5)).astype(np.float32)
    formulas.assert_products(found, labels, x, table)


@pytest.mark.slow
def test_no_loss_and_no_gradient_depends_on_left_out_pixels():
    """All losses of SCAM; the second example of the batch has no other pixels."""
    weights = {"losses__swapped": 1.0, "losses__feature_matching": 1.0, "losses__r1": 1.0}
    config = small.shallow(data__ignore_label=255, **weights)
    networks, batch = models.build(config), small.batch(config)
    batch["label"][:, 3:9, 2:7] = batch["label"][1] = IGNORED
    keys = jax.random.split(jax.random.key(0), len(batch["image"]))
    batch |= {"key": keys, "swap_key": jax.random.key(1)}
    train_state = state.create(config, networks)
    step = jax.jit(lambda s, b: gradients_of_batch(config, networks, s, b, None))
    found = step(train_state, batch)
    others = {**batch, "image": with_other_colours(batch["image"], batch["label"])}
    assert (others["image"] != batch["image"]).any()
    jax.tree.map(np.testing.assert_array_equal, step(train_state, others), found)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_left_out_pixels_are_replaced():
    networks = models.build(small.shallow(data__ignore_label=255))
    labels = np.array([[[0, IGNORED]]])
    assert networks.only_seen(np.ones((1, 1, 2, 3)), labels)[0, 0, :, 0].tolist() == [1, 0]
    image = np.ones((1, 1, 2, 3))
    assert models.build(small.shallow()).only_seen(image, labels) is image


def test_l1_is_the_mean_of_the_pixels_that_count():
    a, b = (np.random.default_rng(i).random((2, 4, 4, 3)) for i in range(2))
    seen = np.zeros((2, 4, 4), bool)
    seen[0, 1] = True
    expected = np.abs(a - b)[0, 1].mean() / 2  # the second image adds 0
    assert losses.l1_of_seen(a, b, seen) == pytest.approx(expected)


def test_oasis_leaves_pixels_out():
    labels = np.array([[[0, 0, 2], [0, 2, 2]]])
    one_hot = jax.nn.one_hot(labels, 2)
    pixels = losses.balanced(one_hot, seen=labels != 2)
    np.testing.assert_array_equal(pixels.weight, [[[1, 1, 0], [1, 0, 0]]])
    unsure = np.zeros((1, 2, 3, 3), np.float32)
    assert losses.oasis_fake([unsure], pixels) == pytest.approx(np.log(3) / 2)
    nothing = losses.balanced(0 * one_hot, seen=labels > 2)
    assert losses.oasis_real([unsure], nothing) == 0


# Metrics


def test_errors_of_the_pixels_that_count():
    random = np.random.default_rng(0)
    target = random.integers(0, 256, (2, 20, 14, 3), dtype=np.uint8)
    image = np.clip(target / 127.5 - 1 + random.normal(0, 0.1, target.shape), -1, 1)
    errors = jax.jit(metrics.errors)
    seen = seen_of(target.shape[:3])
    image = image.astype(np.float32)
    found = errors(image, target, seen)
    for name, values in errors(image * seen[..., None], target, seen).items():
        np.testing.assert_array_equal(values, found[name])
    difference = np.clip(np.round((image + 1) * 127.5), 0, 255) - target.astype(float)
    for i in range(2):
        mse = np.square(difference[i][seen[i]]).mean()
        assert found["psnr"][i] == pytest.approx(10 * np.log10(255**2 / mse), rel=1e-5)
        expected = np.abs(difference[i][seen[i]]).mean() / 127.5
        assert found["l1"][i] == pytest.approx(expected, rel=1e-5)
    everything = errors(image, target)
    for name, values in errors(image, target, np.ones_like(seen)).items():
        np.testing.assert_allclose(values, everything[name], rtol=1e-5)
    assert all(np.isnan(v).all() for v in errors(image, target, 0 * seen).values())


def test_authors_psnr_of_the_pixels_that_count():
    target = np.full((2, 4, 4, 3), 100, np.uint8)
    target[0, 0], target[0, 1] = 0, 255
    image = np.full((2, 4, 4, 3), 100 / 127.5 - 1, np.float32)
    seen = np.zeros((2, 4, 4), bool)
    seen[0, 0] = seen[0, 2] = True
    values = {k: np.asarray(v) for k, v in metrics.authors_errors(image, target, seen).items()}
    assert metrics.authors_psnr(values) == pytest.approx(10 * np.log10(2), rel=1e-4)


@pytest.mark.slow
def test_figures_do_not_depend_on_left_out_pixels(tmp_path):
    config = small.shallow(data__ignore_label=255)
    variables = state.create(config, models.build(config)).eval_variables()
    model, people = TrainedModel(config, variables), examples(3)
    for person in people:
        person["label"] = np.where(seen_of((1, 16, 16))[0], person["label"], IGNORED)
    others = [
        {**person, "image": with_other_colours(person["image"], person["label"])}
        for person in people
    ]
    found, same = (
        {
            (f.metric, f.protocol, f.part): f.values
            for f in evaluation_of(model, tmp_path, source, judges=FewNumbers()).figures
            if not any(judge in f.metric for judge in ("FID", "KID", "REID"))
        }
        for source in (people, others)
    )
    assert {"PSNR", "SSIM", "L1", "LPIPS"} <= {metric for metric, *_ in found}
    assert same == found
    encoded = [model.encode(p[0]["image"][None], p[0]["label"][None]) for p in (people, others)]
    jax.tree.map(np.testing.assert_array_equal, *encoded)
    assert model.transfer(*(people[i][k] for i in (0, 1) for k in ("image", "label"))).any()


def test_mean_colours_leave_pixels_out():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1] = 50, 200
    labels = np.array([[1, IGNORED], [0, 0]], np.uint8)
    target = np.array([[2, 2], [IGNORED, 0]], np.uint8)
    painted = paint_mean_colours(image, labels, image, target, IGNORED)
    assert painted[..., 0].tolist() == [[50, 50], [0, 0]]
