"""Inputs of CelebA's size and kind, drawn at random; tiny ones under --toy."""

import importlib
import operator
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict
from PIL import Image

from configs import celeba
from scam_jax import models
from scam_jax.models.frozen.vgg19 import VGG19
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints

TOY = flags.DEFINE_bool(
    "toy", False, "Tiny sizes: checks that the script runs; its numbers mean nothing."
)

NUM_LABELS = 19
# The values that --toy changes in a config. Baselines lack some of the keys.
TOY_CHANGES = {
    "data.height": 32,
    "data.width": 32,
    "model.latents_per_label": 2,
    "model.background_latents": 2,
    "model.latent_dim": 8,
    "model.attention_dim": 8,
    "model.encoder.num_blocks": 2,
    "model.encoder.conv_features": 4,
    "model.generator.features": 20,  # GroupDNet needs a channel per label
    "model.generator.num_up_layers": 4,
    "model.discriminator.features": 4,
    "model.discriminator.num_layers": 2,
    "losses.perceptual": 0.0,
    "train.batch_size": 2,
}


def config(choices: str = "") -> ConfigDict:
    """Returns the config of configs/celeba.py, made tiny under --toy.

    Args:
      choices: those of `configs.common.base`, such as 'model=sean'.
    """
    result = celeba.get_config(choices)
    if TOY.value:
        for key, value in TOY_CHANGES.items():
            section, _, name = key.rpartition(".")
            values = operator.attrgetter(section)(result)
            if name in values:
                values[name] = value
    return result


def named_config(value: str) -> ConfigDict:
    """Returns the config of NAME[:CHOICES], configs/NAME.py, or the tiny one under --toy."""
    if TOY.value:
        return config()
    name, _, choices = value.partition(":")
    return importlib.import_module(f"configs.{name}").get_config(choices)


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
    labels = label_map(max(size[1:]))[: size[1], : size[2]] % config.data.num_labels
    labels = np.broadcast_to(labels, size)
    return {"image": random.integers(0, 256, (*size, 3), dtype=np.uint8), "label": labels}


def make_folder(root: pathlib.Path) -> None:
    """Draws a folder data set of two 32×32 photos per split."""
    random = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for name in ("0.png", "1.png"):
            photo = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(photo).save(root / split / "images" / name)
            Image.fromarray(label_map(32)).save(root / split / "labels" / name)


def random_vgg() -> dict:
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(VGG19().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]

    def draw(shape):
        return random.normal(size=shape.shape).astype(np.float32) / np.prod(shape.shape[:-1]) ** 0.5

    return jax.tree.map(draw, shapes)


def save_run(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Saves the first state of a run."""
    run_folder.record(config, workdir)
    checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS)
    checkpoints.save(state.create(config, models.build(config)))
    checkpoints.close()
