"""Inputs of CelebA's size and kind, drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from scam_jax.models.frozen.vgg19 import VGG19

NUM_LABELS = 19


def label_map(side: int) -> np.ndarray:
    """Discs of random labels on a background: areas as uneven as a face's."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    labels = np.zeros((side, side), np.uint8)
    for label in random.permutation(np.arange(1, NUM_LABELS)):
        y, x, radius = *random.uniform(0.2, 0.8, 2), random.uniform(0.03, 0.3)
        labels[np.hypot(rows - y, columns - x) < radius] = label
    return labels


def random_batch(config: ConfigDict) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    size = (config.train.batch_size, config.data.height, config.data.width)
    labels = np.broadcast_to(label_map(config.data.height), size)
    return {"image": random.integers(0, 256, (*size, 3), dtype=np.uint8), "label": labels}


def random_vgg() -> dict:
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(VGG19().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]

    def draw(shape):
        return random.normal(size=shape.shape).astype(np.float32) / np.prod(shape.shape[:-1]) ** 0.5

    return jax.tree.map(draw, shapes)
