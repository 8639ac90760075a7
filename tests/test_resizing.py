"""Photos and label maps at another size."""

import numpy as np

from data import resizing


def test_nearest_is_the_floor():
    for height, width in SIZES:
        labels = noise(height, width)["label"]
        resized = resizing.resize_nearest(labels, 21, 34)
        for row, column in itertools.product(range(21), range(34)):
            assert resized[row, column] == labels[row * height // 21, column * width // 34]
    assert resizing.resize_nearest(labels, *labels.shape) is labels


def test_bilinear_averages_what_it_shrinks():
    image = np.zeros((32, 32, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 200
    np.testing.assert_allclose(resizing.resize_bilinear(image, 8, 8), 100, atol=2)
    assert resizing.resize_bilinear(image, 32, 32) is image
