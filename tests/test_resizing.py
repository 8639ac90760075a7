"""Photos and label maps at another size."""

import itertools

import numpy as np
import pytest

from scam_jax.inference import resizing


@pytest.mark.parametrize(("height", "width"), [(40, 40), (48, 27), (1, 30), (30, 1), (1, 1)])
def test_nearest_is_the_floor(height, width):
    labels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    resized = resizing.resize_nearest(labels, 21, 34)
    for row, column in itertools.product(range(21), range(34)):
        assert resized[row, column] == labels[row * height // 21, column * width // 34]
    assert resizing.resize_nearest(labels, height, width) is labels


def test_bilinear_averages_what_it_shrinks():
    image = np.zeros((32, 32, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 200
    np.testing.assert_allclose(resizing.resize_bilinear(image, 8, 8), 100, atol=2)
    assert resizing.resize_bilinear(image, 32, 32) is image
