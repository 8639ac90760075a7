"""Attention maps as the page shows them."""

from typing import Any

import numpy as np

from scam_jax.inference import attention_maps, recipe
from scam_jax.inference.model import TrainedModel
from scam_jax.inference.recipe import TARGET, Encode, Recipe


def attention(
    model: TrainedModel,
    chosen: Recipe,
    encode: Encode,
    modulation: str | None = None,
    block: str | None = None,
) -> tuple[dict[str, Any], bytes]:
    """Returns the maps of one modulation of the generator and of one block of the encoder.

    Args:
      model: a trained model.
      chosen: the recipe whose maps to return.
      encode: encodes a picture.
      modulation: name of the modulation, the last one by default.
      block: name of the block, the last one by default.

    Returns:
      What the maps are, and their values, uint8. The generator's `[h, w, K]` come first: the share
      of each latent of a pixel's label. Then come the encoder's `[h, w, K]` of each picture, scaled
      so that the largest weight of a latent within its label is 255.

    Raises:
      ValueError: the model has no attention, or no such map.
    """
    if not attention_maps.has_attention(model):
        raise ValueError("this model has no attention, so there are no maps to show")
    mixed = recipe.latents(model, chosen, encode)
    generator = attention_maps.maps_of_latents(model, chosen.label_map, mixed)
    encoder = {
        role: attention_maps.encoder_maps(model, picture)
        for role, picture in chosen.pictures.items()
    }
    modulations, blocks = [*generator], [*encoder[TARGET]]
    modulation, block = modulation or modulations[-1], block or blocks[-1]
    if modulation not in modulations or block not in blocks:
        raise ValueError(f"there is no map {modulation!r} or {block!r}")
    shown = {"": generator[modulation]}
    for role, found in encoder.items():
        labels = chosen.pictures[role].labels
        shown[role] = _scaled_by_label(found[block], labels, model.config.data.num_labels)
    told = {
        "modulations": modulations,
        "blocks": blocks,
        "shapes": {role: weights.shape for role, weights in shown.items()},
        "givers": strongest_givers(model, chosen),
        "latents": [
            attention_maps.latents_of(model, label) for label in range(model.config.data.num_labels)
        ],
    }
    values = [np.round(255 * np.clip(w, 0, 1)).astype(np.uint8).tobytes() for w in shown.values()]
    return told, b"".join(values)


def _scaled_by_label(weights: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    small = attention_maps.labels_of_map(labels, weights)
    scaled = np.zeros_like(weights)
    for label in range(num_labels):
        if (here := small == label).any():
            own = weights[here]
            scaled[here] = own / np.maximum(own.max(0), 1e-30)
    return scaled


def strongest_givers(model: TrainedModel, chosen: Recipe) -> list[tuple[str, int]]:
    """Returns, by label, the picture with the largest share and the label that is taken from it."""
    found = []
    for label in range(model.config.data.num_labels):
        shares = chosen.givers.get(label, {})
        shares = {**shares, TARGET: 1 - sum(shares.values())}
        role, own = max(shares, key=shares.__getitem__), label
        if role != TARGET:
            labels = chosen.pictures[role].labels[None]
            own = int(model.sources_of(labels, [label], chosen.absent)[0, label])
        found.append((TARGET, label) if own < 0 else (role, own))
    return found
