"""Which latent each pixel goes by: attention of encoder blocks and modulations, as pictures.

The weights are the model's own, recorded where they are used. In an encoder block a latent attends
to its label's pixels, so its weights over the image sum to one; in a modulation a pixel attends to
its label's latents, and it is the pixel's weights that sum to one. (Paper, figure 5.)
"""

import functools
import re
from typing import Any

import jax
import numpy as np

from scam_jax import images, models
from scam_jax.examples import Picture
from scam_jax.images import to_float
from scam_jax.inference import generation
from scam_jax.inference.model import TrainedModel
from scam_jax.models.layers.primitives import nearest_indices

# A block's modulations by their modules' names.
_KINDS = {
    "mod_0": "modulation 0",
    "mod_1": "modulation 1",
    "mod_res": "shortcut",
    "rgb_mod": "RGB",
}
# Maps `[h, w, K]` of one image by block: each pixel's weights for the latents of its label.
Maps = dict[str, np.ndarray]


def has_attention(model: TrainedModel) -> bool:
    """Whether there is anything to draw: the baselines have no attention."""
    return models.family_of(model.config).has_attention


def encoder_maps(model: TrainedModel, picture: Picture) -> Maps:
    """Of an image, by block: 'block 0', 'block 1', …

    Raises:
      ValueError: the picture does not fit the model, see `TrainedModel.fit`.
    """
    image, labels = model.fit("image", picture)
    recorded = _encoder(
        model.networks, model.variables["encoder"], image[None], labels[None].astype(np.int32)
    )
    maps = _by_block(recorded, r"cross_attention_(\d+)")
    return {f"block {i}": weights for (i,), weights in maps.items()}


def generator_maps(model: TrainedModel, target: Picture, subject: Picture | None = None) -> Maps:
    """Of the target's reconstruction, or of a transfer: 'block 0, modulation 0', ….

    Raises:
      ValueError: a picture does not fit the model.
    """
    target = model.fit("target", target)
    latents = model.encode(target.image[None], target.labels[None])
    if subject is not None:
        subject = model.fit("subject", subject)
        other = model.encode(subject.image[None], subject.labels[None])
        from_subject = generation.taken(model.config.data.num_labels, None)
        latents = generation.mix(model.networks, from_subject, other, latents)
    labels = target.labels[None].astype(np.int32)
    recorded = _generator(model.networks, model.variables["generator"], labels, latents)
    maps = _by_block(recorded, rf"block_(\d+)_({'|'.join(_KINDS)})/latent_to_image")
    return {f"block {i}, {_KINDS[kind]}": weights for (i, kind), weights in maps.items()}


@functools.partial(jax.jit, static_argnums=0)
def _encoder(networks: models.Networks, variables: Any, image, labels) -> dict:
    keys = jax.random.split(jax.random.key(0), 1)
    return networks.encoder.apply(
        variables, to_float(image), labels, keys, mutable=["intermediates"]
    )[1]["intermediates"]


@functools.partial(jax.jit, static_argnums=0)
def _generator(networks: models.Networks, variables: Any, labels, latents) -> dict:
    keys = jax.random.split(jax.random.key(1), 1)
    return networks.generator.apply(variables, labels, latents, keys, mutable=["intermediates"])[1][
        "intermediates"
    ]


def _by_block(recorded: dict, pattern: str) -> dict[tuple, np.ndarray]:
    """The maps of modules whose path matches, by what the pattern's groups are, in order."""
    found = {}
    for path, weights in jax.tree_util.tree_leaves_with_path(recorded):
        module = "/".join(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
        if match := re.match(pattern + "/", module):
            block, *kind = match.groups()
            found[int(block), *kind] = np.asarray(weights[0])
    return dict(sorted(found.items()))


def strongest(weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each pixel's latent of greatest weight as a colour: `[h, w, K]` to `uint8 [*size, 3]`."""
    colours = images.palette(weights.shape[-1] + 1)[1:]
    return _enlarged(colours[weights.argmax(-1)], size)


def strength(
    weights: np.ndarray, labels: np.ndarray, label: int, latent: int, size: tuple[int, int]
) -> np.ndarray:
    """One latent's weight at its label's pixels, white the greatest: `uint8 [*size, 3]`.

    Args:
      weights: `[h, w, K]`.
      labels: the image's, `[H, W]`.
      label, latent: which of that label's latents, from 0.
      size: of the picture.
    """
    rows, columns = (
        nearest_indices(a, b) for a, b in zip(labels.shape, weights.shape, strict=False)
    )
    own = np.where(labels[rows][:, columns] == label, weights[..., latent], 0)
    shade = np.round(255 * own / max(own.max(), 1e-30)).astype(np.uint8)
    return _enlarged(np.repeat(shade[..., None], 3, axis=-1), size)


def _enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (nearest_indices(*s) for s in zip(picture.shape[:2], size, strict=True))
    return picture[rows][:, columns]


def draw(
    model: TrainedModel,
    subject: Picture,
    target: Picture,
    latent: tuple[int, int] | None = None,
) -> dict[str, np.ndarray]:
    """Pictures of all maps of a transfer: 'encoder' and 'generator'.

    Args:
      model: trained.
      subject, target: encoder maps are of both, the generator's of the transfer.
      latent: (label, latent of it, from 0) to draw its weights alone; by default each pixel's
        strongest latent, in colours.

    Returns:
      'encoder': a row each for subject and target: image, labels, blocks. 'generator': the
      transfer, its labels, then a map a modulation, wrapped into rows. Each has its name above.

    Raises:
      ValueError: the model has no attention, or no such label or latent.
    """
    if not has_attention(model):
        raise ValueError(
            f"config.model.family = {model.config.model.family!r}: only a model with attention has "
            "maps of it to draw; there are none of this one"
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
    transferred = model.transfer(*subject, *target)
    cells = row("transfer", transferred, target.labels, generator_maps(model, target, subject))
    width = max(len(people[0]), 6)
    wrapped = [cells[i : i + width] for i in range(0, len(cells), width)]
    return {"encoder": images.grid(people), "generator": images.grid(wrapped)}


def _check_latent(model: TrainedModel, label: int, latent: int) -> None:
    generation.taken(model.config.data.num_labels, [label])
    m = model.config.model
    count = m.latents_per_label if label else m.background_latents
    if not 0 <= latent < count:
        raise ValueError(f"label {label} has no latent {latent}: it has 0 … {count - 1}")
