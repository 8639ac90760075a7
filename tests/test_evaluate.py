"""Metrics over a data set, and the baselines that a transfer is compared with."""

import jax
import numpy as np
import pytest
import small

from scam_jax import evaluate, models, sharding, state
from scam_jax.metrics import L1, PSNR
from scam_jax.transfer import TrainedModel


def test_psnr_is_of_one_mean_squared_error_over_all_batches():
    random = np.random.RandomState(0)
    image, target = random.uniform(-1, 1, (2, 6, 4, 5, 3)).astype(np.float32)
    weight = np.ones((6, 4, 5), np.float32)
    total = PSNR.empty()
    for part in (slice(0, 4), slice(4, 6)):
        total = total.merge(PSNR.from_images(image[part], target[part], weight[part]))
    mse = np.mean((image - target) ** 2)
    expected = 10 * np.log10((target.max() - target.min()) ** 2 / mse)
    assert float(total.compute()) == pytest.approx(expected, rel=1e-5)


def test_padding_counts_nowhere():
    target = np.zeros((2, 3, 3, 3), np.float32)
    target[0, 0] = 1.0
    image = target.copy()
    image[0] += 0.5
    image[1] = 99.0
    weight = np.stack([np.ones((3, 3)), np.zeros((3, 3))]).astype(np.float32)
    assert float(L1.from_images(image, target, weight).compute()) == pytest.approx(0.5)
    psnr = PSNR.from_images(image, target, weight)
    assert float(psnr.compute()) == pytest.approx(10 * np.log10(1 / 0.25))


def test_mean_colours():
    subject = np.zeros((2, 2, 3), np.uint8)
    subject[0, 0], subject[0, 1] = 100, 200
    subject_labels = np.array([[1, 1], [0, 0]], np.uint8)
    target = np.full((2, 2, 3), 7, np.uint8)
    target_labels = np.array([[0, 1], [2, 0]], np.uint8)
    painted = evaluate.paint_mean_colours(subject, subject_labels, target, target_labels, 3)
    assert painted[0, 1].tolist() == [150] * 3
    assert painted[1, 0].tolist() == [150] * 3, "an absent region takes the whole subject's mean"
    assert painted[0, 0].tolist() == [7] * 3


@pytest.fixture(scope="module")
def model():
    config = small.config(model__generator__add_noise=False)
    return TrainedModel(config, state.create(config, models.build(config)).eval_variables())


def examples(count, seed=0):
    random = np.random.default_rng(seed)
    return [
        {
            "image": random.integers(0, 256, (16, 16, 3), dtype=np.uint8),
            "label": random.integers(0, 3, (16, 16), dtype=np.uint8),
        }
        for _ in range(count)
    ]


def test_reconstruction_over_two_devices_and_padding(model):
    """Five images in batches of four, padded, give the figures of the five."""
    people = examples(5)
    images = np.stack([p["image"] for p in people])
    labels = np.stack([p["label"] for p in people])
    batches = []
    for start in (0, 4):
        index = np.minimum(np.arange(start, start + 4), 4)
        mask = (np.arange(start, start + 4) < 5).astype(np.float32)
        batches.append({"image": images[index], "label": labels[index], "mask": mask})
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), (sharding.DATA,))
    figures = evaluate.evaluate_reconstruction(model, mesh, batches)
    ours, target = model.reconstruct_batch(images, labels), images / 127.5 - 1
    assert figures["reconstruction/l1"] == pytest.approx(np.abs(ours - target).mean(), rel=1e-3)
    mse = np.mean((ours - target) ** 2)
    expected = 10 * np.log10((target.max() - target.min()) ** 2 / mse)
    assert figures["reconstruction/psnr"] == pytest.approx(expected, rel=1e-3)


def test_transfer_figures_and_table(model):
    subjects, targets = examples(3, 1), examples(3, 2)
    triplets = [
        {
            "subject_image": s["image"],
            "subject_label": s["label"],
            "target_image": t["image"],
            "target_label": t["label"],
            "transfer_image": t["image"],
        }
        for s, t in zip(subjects, targets, strict=True)
    ]
    figures = evaluate.evaluate_transfer(model, triplets, batch_size=2)
    assert set(figures) == {"model", "target unchanged", "mean colours"}
    assert figures["target unchanged"]["subject"] == np.inf, "here the truth is the target"
    assert figures["mean colours"]["image"] > figures["mean colours"]["subject"]
    text = evaluate.table({"reconstruction/psnr": 20.0}, figures)
    assert "| psnr | 20 |" in text
    assert "| mean colours | " in text
    assert evaluate.gallery(model, triplets).shape == (2 * 16 + 2, 2 * (4 * 16 + 6) + 10, 3)
