"""Metrics of single images, against plain computations."""

import jax
import numpy as np
import pytest
from scipy.signal import convolve2d

from scam_jax.evaluation import metrics, summary


def test_authors_cut_off_and_files_round():
    image = np.array([-1.5, -1.0, -0.9999, 0.0, 0.999, 1.0, 1.5])
    assert metrics.truncated(image).tolist() == [0, 0, 0, 127, 254, 255, 255]
    assert metrics.rounded(image).tolist() == [0, 0, 0, 128, 255, 255, 255]


def ssim(a, b):
    """Wang et al. 2004 on each colour, Gaussian window of 11, deviation 1.5; range 1."""
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def mean(x):
        return convolve2d(x, window, mode="valid")

    values = []
    for x, y in zip(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0), strict=True):
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_errors_of_an_image():
    random = np.random.RandomState(0)
    target = random.randint(0, 256, (2, 20, 14, 3)).astype(np.uint8)
    image = np.clip(target / 127.5 - 1 + random.normal(0, 0.1, target.shape), -1, 1)
    found = metrics.errors(image.astype(np.float32), target)
    as_file = np.clip(np.round((image + 1) * 127.5), 0, 255)
    for i in range(2):
        mse = np.square(as_file[i] - target[i]).mean()
        assert found["psnr"][i] == pytest.approx(10 * np.log10(255**2 / mse), rel=1e-5)
        expected = ssim(as_file[i] / 255, target[i] / 255)
        assert found["ssim"][i] == pytest.approx(expected, abs=2e-5)
    assert found["l1"] == pytest.approx(np.abs(as_file - target).mean((1, 2, 3)) / 127.5, rel=1e-5)


def test_the_same_image():
    target = np.random.RandomState(0).randint(0, 256, (1, 12, 12, 3)).astype(np.uint8)
    found = metrics.errors((target / 127.5 - 1).astype(np.float32), target)
    assert found["ssim"][0] == pytest.approx(1)
    assert found["psnr"][0] == np.inf
    assert found["l1"][0] == 0


def test_an_image_that_is_not_finite_is_not_left_out():
    target = np.zeros((3, 12, 12, 3), np.uint8)
    image = np.zeros((3, 12, 12, 3), np.float32)
    image[1, 2, 3, 0] = np.nan
    seen = np.ones((3, 12, 12), bool)
    seen[2] = False
    values = {
        **jax.device_get(metrics.errors(image, target, seen)),
        **jax.device_get(metrics.authors_errors(image, target, seen)),
        **jax.device_get(metrics.region_errors(image, target, seen * 1, 2)),
    }
    worst = {"psnr": -np.inf, "ssim": -np.inf, "l1": np.inf, "squared_error": np.inf}
    for name, value in worst.items():
        assert values[name][1] == value
        assert np.isnan(values[name][2]), "no pixel counts"
    assert metrics.psnr_within(image, target, seen)[1] == -np.inf
    figures = summary.figures_of([{"reconstruction": values}], {}, 2)
    of_all = [figure for figure in figures if not figure.part]
    assert {(f.metric, f.count) for f in of_all} == {("PSNR", 2), ("SSIM", 2), ("L1", 2)}
    assert all(np.isnan(figure.mean) for figure in of_all)


def test_psnr_within_some_pixels():
    target = np.zeros((2, 4, 4, 3), np.uint8)
    image = np.full((2, 4, 4, 3), -1, np.float32)
    image[0, 0] = 1.0
    weight = np.zeros((2, 4, 4))
    weight[0, :2] = 1
    found = metrics.psnr_within(image, target, weight)
    assert found[0] == pytest.approx(10 * np.log10(2), rel=1e-5), "half of the pixels are 255 off"
    assert np.isnan(found[1]), "no pixel counts"


def test_psnr_of_regions_is_of_all_their_pixels():
    error = np.array([[100.0, 0.0, 0.0], [300.0, 5.0, 0.0]])
    pixels = np.array([[10.0, 0.0, 0.0], [30.0, 5.0, 0.0]])
    found = metrics.region_psnr(error, pixels)
    assert found[:2] == pytest.approx(10 * np.log10(255**2 / np.array([10.0, 1.0])))
    assert np.isnan(found[2]), "no image has it"
