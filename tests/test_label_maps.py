"""What is computed from label maps is what the plain way gives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from helpers.closeness import assert_close

from scam_jax.models.baselines import groupdnet, inade
from scam_jax.models.layers import label_maps, primitives


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labels_of(*shape, count=4):
    return np.random.default_rng(1).integers(0, count, shape)


def test_code_conv_is_a_convolution_of_codes_laid_out():
    labels, codes = labels_of(2, 7, 5), drawn(2, 4, 6)
    one_hot = jax.nn.one_hot(labels, 4)
    conv = primitives.Conv(3)
    variables = {"params": {"kernel": drawn(3, 3, 6, 3), "bias": drawn(3)}}
    expected = conv.apply(variables, label_maps.laid_out(one_hot, codes))
    neighbours = label_maps.neighbours_of(one_hot)
    ours = label_maps.CodeConv(3).apply(variables, neighbours, codes)
    assert_close(ours, expected, atol=1e-5)


def test_laid_out():
    labels = labels_of(2, 3, 5)
    one_hot = jax.nn.one_hot(labels, 4)
    table, codes = drawn(4, 6), drawn(2, 4, 6)
    np.testing.assert_array_equal(label_maps.laid_out(one_hot, table), table[labels])
    expected = np.stack([code[label] for code, label in zip(codes, labels, strict=True)])
    np.testing.assert_array_equal(label_maps.laid_out(one_hot, codes), expected)


def test_region_means_of_present_and_absent_labels():
    labels = np.array([[[0, 0, 2]], [[1, 1, 1]]])
    x = np.arange(6, dtype=np.float32).reshape(2, 1, 3, 1)
    means = label_maps.region_means(jax.nn.one_hot(labels, 3), x)[..., 0]
    np.testing.assert_allclose(means, [[0.5, 0, 2], [0, 4, 0]])


def test_region_conv_sees_its_own_region():
    """Neighbours of another label are as if they were 0, and outside is label 0."""
    x, kernel, bias = drawn(1, 5, 7, 2), drawn(3, 3, 2, 3), drawn(3)
    labels = labels_of(1, 5, 7, count=2)
    for stride in (1, 2):
        layer = inade.RegionConv(3, stride)
        ours = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x, labels)
        rows, columns = range(0, 5, stride), range(0, 7, stride)
        assert ours.shape == (1, len(rows), len(columns), 3)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                centre, total = labels[0, row, column], bias.copy()
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        y, z = row + dy, column + dx
                        inside = 0 <= y < 5 and 0 <= z < 7
                        if inside and labels[0, y, z] == centre:
                            total += x[0, y, z] @ kernel[dy + 1, dx + 1]
                np.testing.assert_allclose(ours[0, i, j], total, atol=1e-5)


def test_crops_of_labels():
    """A label's rows and columns fill the crop, other labels' pixels are black."""
    labels = np.zeros((6, 4), int)
    labels[1:3, 1:4] = 1
    labels[2, 2] = 0
    image = np.random.default_rng(0).uniform(0.1, 1, (6, 4, 3)).astype(np.float32)
    crops = np.asarray(groupdnet.crops(image, labels, 3, 12))
    assert crops.shape == (3, 12, 12, 3)
    part = np.where((labels == 1)[..., None], image, 0)[1:3, 1:4]
    np.testing.assert_array_equal(crops[1], part.repeat(6, 0).repeat(4, 1))
    whole = np.where((labels == 0)[..., None], image, 0)
    np.testing.assert_array_equal(crops[0], whole.repeat(2, 0).repeat(3, 1))
    assert not crops[2].any(), "an absent label's crop is zeros"


def test_grouped_convolution():
    """On a CPU by other means than XLA's own, of few groups and of many."""
    for stride, groups in itertools.product((1, 2), (4, 20)):
        x, kernel = drawn(2, 6, 5, 2 * groups), drawn(3, 3, 2, 3 * groups)
        expected = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        ours = primitives.convolution.conv2d(x, kernel, stride=stride, padding=1, groups=groups)
        assert_close(ours, expected, atol=1e-5)


def test_transposed_convolution_is_the_transpose():
    kernel = drawn(3, 3, 2, 4)
    x, y = drawn(1, 6, 10, 2), drawn(1, 3, 5, 4, seed=1)
    forward = primitives.convolution.conv2d(x, kernel, stride=2, padding=1)
    back = primitives.convolution.conv2d_transpose(y, kernel, stride=2, padding=1, size=(6, 10))
    np.testing.assert_allclose(jnp.sum(forward * y), jnp.sum(x * back), rtol=1e-5)
