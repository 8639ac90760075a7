"""The frozen networks equal the PyTorch packages' own, on tests/golden/frozen.npz."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import frozen_networks as rules
from helpers.closeness import assert_close

from scam_jax.evaluation import kid
from scam_jax.models.frozen import inception, lpips, resnet
from scam_jax.weights import convert, pretrained


@pytest.fixture(scope="module")
def packages():
    """Outputs of the packages' networks by name, and `meta`."""
    with np.load(rules.FILE) as file:
        arrays = {key: file[key] for key in file.files}
    return {**arrays, "meta": json.loads(str(arrays["meta"]))}


def converted(packages, name):
    """The weights that the packages' networks had, by way of the real conversion."""
    return convert.convert_frozen(name, rules.weights(packages["meta"][name]))


def run(module, params, *inputs):
    return jax.jit(module.apply)({"params": params}, *inputs)


def test_inception(packages):
    images = rules.images("inception", 40, 56).astype(np.float32)
    ours = run(inception.InceptionV3(), converted(packages, "inception"), images)
    assert_close(ours, packages["inception/features"], of_largest=1e-5)


def test_inception_resize(packages):
    images = rules.images("inception", 40, 56).astype(np.float32)
    ours = inception.resize(images, 299)[:, :: rules.STEP, :: rules.STEP]
    assert_close(ours, packages["inception/resized"], atol=1e-4)


def test_antialiased_resize(packages):
    """To a smaller height and a larger width."""
    images = rules.images("inception", 400, 56).astype(np.float32)
    ours = inception.resize_antialiased(images, 299)[:, :: rules.STEP, :: rules.STEP]
    assert_close(ours, packages["inception/resized_antialiased"], atol=5e-3)


def test_kernel_distance(packages):
    assert kid.kernel_distance(*rules.features()) == pytest.approx(packages["kid"], rel=1e-9)


def test_reid(packages):
    """Also the crops that go in."""
    params = converted(packages, "reid_resnet50")
    crops = jax.jit(resnet.person_crops)(*rules.persons())
    ours = crops[:, :: rules.STEP, :: rules.STEP]
    assert_close(ours, packages["reid/crops"], atol=1e-3)
    ours = run(resnet.ReIDResNet50(), params, crops)
    assert_close(ours, packages["reid/features"], of_largest=1e-5)


def test_lpips(packages):
    params = {name: converted(packages, name) for name in ("alexnet", "lpips_alex")}
    a, b = (rules.images(f"lpips {x}", 64, 64) / np.float32(127.5) - 1 for x in "ab")
    b[1] = 0.9 * a[1] + 0.1 * b[1]
    ours = run(lpips.LPIPS(), params, a, b)
    np.testing.assert_allclose(ours, packages["lpips/distances"], rtol=1e-5)
    np.testing.assert_array_equal(run(lpips.LPIPS(), params, a, a), np.zeros(2))


def test_convolutions_stay_in_fp32_on_accelerators():
    """Which by default would round their factors."""
    shapes = {name: pretrained.shapes(name) for name in pretrained.SOURCES}
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    programs = (
        (inception.InceptionV3(), shapes["inception"], 1),
        (resnet.ReIDResNet50(), shapes["reid_resnet50"], 1),
        (lpips.LPIPS(), shapes, 2),
    )
    for module, params, num_images in programs:
        program = jax.jit(module.apply).lower({"params": params}, *[image] * num_images).as_text()
        products = [line for line in program.splitlines() if "stablehlo.convolution" in line]
        assert products
        assert all(line.count("precision HIGHEST") == 2 for line in products)


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Between pixel centres, pixel by pixel, in float64."""
    result = np.zeros((height, width, image.shape[2]))
    for i, j in np.ndindex(height, width):
        y = np.clip((i + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
        x = np.clip((j + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            r, c = int(y) + row, int(x) + column
            weight = (1 - abs(y - r)) * (1 - abs(x - c))
            if weight > 0:
                result[i, j] += weight * image[r, c]
    return result


def test_person_crops():
    """Of a region of several parts, a single pixel, a person who fills the image, and no one."""
    images = np.random.RandomState(0).randint(0, 256, (4, 21, 300, 3)).astype(np.uint8)
    labels = np.zeros((4, 21, 300), np.int32)
    labels[0, 3, 40], labels[0, 17:19, 5:260] = 1, 7
    labels[1, 20, 299] = 2
    labels[2, 0, 0], labels[2, 20, 299] = 1, 1
    boxes = [(3, 19, 5, 260), (20, 21, 299, 300), (0, 21, 0, 300), (0, 21, 0, 300)]
    ours = jax.jit(resnet.person_crops)(images, jnp.asarray(labels))
    for crop, image, (top, bottom, left, right) in zip(ours, images, boxes, strict=True):
        expected = bilinear(image[top:bottom, left:right], 256, 128)
        np.testing.assert_allclose(crop, expected, atol=0.01)
