"""Attention maps of the encoder's blocks and the generator's modulations (paper, figure 5).

The weights are recorded while the model computes them. In an encoder block each latent attends to
the pixels of its label, so the weights of a latent sum to one over the image. In a modulation each
pixel attends to the latents of its label, so the weights of a pixel sum to one.
"""

import functools
import re
from typing import Any

import jax
import numpy as np

from scam_jax import images, models
from scam_jax.examples import Picture
from scam_jax.images import to_float
from scam_jax.inference import generation, sources
from scam_jax.inference.model import TrainedModel
from scam_jax.models.layers.latents import Latents
from scam_jax.models.layers.primitives import nearest_indices

# Captions of a block's modulations, keyed by module name.
_KINDS = {
    "mod_0": "modulation 0",
    "mod_1": "modulation 1",
    "mod_res": "shortcut",
    "rgb_mod": "RGB",
}
# Maps `[h, w, K]` of one image, keyed by block: the weights between each pixel and the K latents of
# its label.
Maps = dict[str, np.ndarray]


def has_attention(model: TrainedModel) -> bool:
    """Returns whether the model has attention; the baselines have none."""
    return models.family_of(model.config).has_attention


def encoder_maps(model: TrainedModel, picture: Picture) -> Maps:
    """Returns the encoder's attention maps of one image, keyed 'block 0', 'block 1', ….

    Args:
      model: a trained model with attention.
      picture: image and label map.

    Raises:
      ValueError: the picture does not fit the model, see `TrainedModel.fit`.
    """
    image, labels = model.fit("image", picture)
    recorded = _encoder(
        model.networks, model.variables["encoder"], image[None], labels[None].astype(np.int32)
    )
    maps = _by_block(recorded, r"cross_attention_(\d+)")
    return {f"block {i}": weights for (i,), weights in maps.items()}


def generator_maps(
    model: TrainedModel,
    target: Picture,
    subject: Picture | None = None,
    labels: sources.Labels | None = None,
    absent: str = sources.TARGET,
) -> Maps:
    """Returns the generator's attention maps, keyed 'block 0, modulation 0', ….

    Args:
      model: a trained model with attention.
      target: the target.
      subject: the subject of a transfer, or None for the target's reconstruction.
      labels: labels taken from the subject; by default, all except the background.
      absent: what stands in for labels that the subject lacks, see `sources`.

    Raises:
      ValueError: a picture does not fit the model, see `TrainedModel.fit`.
    """
    target = model.fit("target", target)
    latents = model.encode(target.image[None], target.labels[None])
    if subject is not None:
        subject = model.fit("subject", subject)
        other = model.encode(subject.image[None], subject.labels[None])
        chosen = model.sources_of(subject.labels[None], labels, absent)
        latents = generation.mix(model.networks, chosen, other, latents)
    return maps_of_latents(model, target.labels, latents)


def maps_of_latents(model: TrainedModel, labels: np.ndarray, latents: Latents) -> Maps:
    """Returns the generator's attention maps, keyed as by `generator_maps`.

    Args:
      model: a trained model with attention.
      labels: the label map to generate, `uint8 [H, W]` of the model's size.
      latents: latents, for a batch of one.
    """
    recorded = _generator(
        model.networks, model.variables["generator"], labels[None].astype(np.int32), latents
    )
    maps = _by_block(recorded, rf"block_(\d+)_({'|'.join(_KINDS)})/latent_to_image")
    return {f"block {i}, {_KINDS[kind]}": weights for (i, kind), weights in maps.items()}


@functools.partial(jax.jit, static_argnums=0)
def _encoder(networks: models.Networks, variables: Any, image, labels) -> dict:
    keys = jax.random.split(jax.random.key(0), 1)
    image = networks.only_seen(to_float(image), labels)
    recorded = networks.encoder.apply(variables, image, labels, keys, mutable=["intermediates"])[1]
    return recorded["intermediates"]


@functools.partial(jax.jit, static_argnums=0)
def _generator(networks: models.Networks, variables: Any, labels, latents) -> dict:
    keys = jax.random.split(jax.random.key(1), 1)
    return networks.generator.apply(variables, labels, latents, keys, mutable=["intermediates"])[1][
        "intermediates"
    ]


def _by_block(recorded: dict, pattern: str) -> dict[tuple, np.ndarray]:
    """Returns the maps of modules that match a pattern, keyed and sorted by its groups."""
    found = {}
    for path, weights in jax.tree_util.tree_leaves_with_path(recorded):
        module = "/".join(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
        if match := re.match(pattern + "/", module):
            block, *kind = match.groups()
            found[int(block), *kind] = np.asarray(weights[0])
    return dict(sorted(found.items()))


def strongest(weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draws the latent with the largest weight at each pixel, in one colour per latent.

    Args:
      weights: `[h, w, K]`.
      size: height and width of the picture.

    Returns:
      `uint8 [*size, 3]`.
    """
    colours = images.palette(weights.shape[-1] + 1)[1:]
    return _enlarged(colours[weights.argmax(-1)], size)


def strength(
    weights: np.ndarray, labels: np.ndarray, label: int, latent: int, size: tuple[int, int]
) -> np.ndarray:
    """Draws the weight of one latent at the pixels of its label, from black to white (the largest).

    Args:
      weights: `[h, w, K]`.
      labels: labels of the image, `[H, W]`.
      label: the label.
      latent: number of the latent among those of the label, from 0.
      size: height and width of the picture.

    Returns:
      `uint8 [*size, 3]`.
    """
    own = np.where(labels_of_map(labels, weights) == label, weights[..., latent], 0)
    shade = np.round(255 * own / max(own.max(), 1e-30)).astype(np.uint8)
    return _enlarged(np.repeat(shade[..., None], 3, axis=-1), size)


def labels_of_map(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the labels `[h, w]` of the places of a map `[h, w, K]`, from those of the image."""
    rows, columns = (
        nearest_indices(a, b) for a, b in zip(labels.shape, weights.shape, strict=False)
    )
    return labels[rows][:, columns]


def _enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (nearest_indices(*s) for s in zip(picture.shape[:2], size, strict=True))
    return picture[rows][:, columns]


def draw(
    model: TrainedModel,
    subject: Picture,
    target: Picture,
    latent: tuple[int, int] | None = None,
    labels: sources.Labels | None = None,
    absent: str = sources.TARGET,
) -> dict[str, np.ndarray]:
    """Draws all attention maps of a transfer.

    Args:
      model: a trained model with attention.
      subject: the subject.
      target: the target.
      latent: (label, number of its latent from 0) to draw the weights of this latent. By default
        the picture shows the strongest latent of each pixel, in colours.
      labels: labels taken from the subject; by default, all except the background.
      absent: what stands in for labels that the subject lacks, see `sources`.

    Returns:
      Two pictures. 'encoder' has one row each for subject and target: image, labels, and one map
      per block. 'generator' shows the transfer, its labels, and one map per modulation, wrapped
      into rows. Every part has a caption.

    Raises:
      ValueError: the model has no attention, there is no such label or latent, or a picture does
        not fit the model.
    """
    if not has_attention(model):
        raise ValueError(
            f"config.model.family = {model.config.model.family!r}: this model has no attention, so "
            "there are no maps to draw"
        )
    subject, target = model.fit("subject", subject), model.fit("target", target)
    size = subject.labels.shape
    if latent is not None:
        _check_latent(model, *latent)

    def drawn(weights, labels):
        if latent is None:
            return strongest(weights, size)
        return strength(weights, labels, *latent, size)

    def row(name, image, labels, maps):
        cells = {name: image, "labels": images.colorize(labels, model.config.data.num_labels)}
        cells |= {block: drawn(weights, labels) for block, weights in maps.items()}
        return [images.captioned(cell, caption) for caption, cell in cells.items()]

    people = [
        row(name, *person, encoder_maps(model, person))
        for name, person in (("subject", subject), ("target", target))
    ]
    transferred = model.transfer(*subject, *target, labels=labels, absent=absent)
    maps = generator_maps(model, target, subject, labels, absent)
    cells = row("transfer", transferred, target.labels, maps)
    width = max(len(people[0]), 6)
    wrapped = [cells[i : i + width] for i in range(0, len(cells), width)]
    return {"encoder": images.grid(people), "generator": images.grid(wrapped)}


def latents_of(model: TrainedModel, label: int) -> int:
    """Returns the number of latents of a label."""
    m = model.config.model
    return m.latents_per_label if label else m.background_latents


def _check_latent(model: TrainedModel, label: int, latent: int) -> None:
    sources.find_label(label, model.config.data.num_labels)
    count = latents_of(model, label)
    if not 0 <= latent < count:
        raise ValueError(f"label {label} has no latent {latent}: it has 0 … {count - 1}")
