"""Starts a run from the weights of another, or of a release, to fine-tune on one's own photos.

Weights that belong to a label go to the same label of the new run. Labels are matched by name, or
by the numbers of their label maps. A label without a match keeps its fresh weights.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.inference import release
from scam_jax.inference.label_map import UNMAPPED, LabelMap, table
from scam_jax.models.scam.latent_layout import LatentLayout
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.state import TrainState

# The old label of each new label, or None.
Matches = Sequence[int | None]


def initial_state(
    config: ConfigDict, networks: models.Networks, source: epath.Path, names: Sequence[str]
) -> TrainState:
    """Returns the first state of a run, with the weights of another run or of a release.

    Encoder and generator take the averaged weights if the other run keeps them. A release has no
    discriminator, so that of the new run is fresh. The optimizers start afresh.

    Args:
      config: the whole config of the new run.
      networks: its networks.
      source: the folder of the other run, or of the release.
      names: names of the new run's labels, empty if unknown.

    Raises:
      FileNotFoundError: `source` holds no model, or the run has no checkpoint.
      ValueError: its networks differ in more than their labels; names the first key. Or a file of
        the release is damaged.
      CheckpointError: its checkpoints cannot be read.
    """
    old_config = run_folder.load_config(source)
    _check_same_networks(config, old_config, source)
    given, step, old_names = (_of_release if release.is_release(source) else _of_run)(
        source, old_config
    )
    matches = match(config.data, names, old_config.data, old_names)
    _tell(matches, names, source, step)
    if not (names and old_names) and config.data.label_map != old_config.data.label_map:
        _tell_numbers(matches, names, old_names)
    fresh = state.create(config, networks)
    begun = {"params": fresh.params, "extra": fresh.extra}
    tree = _transplanted(begun, given, matches, config, old_config)
    _check_sizes(begun, tree, old_config, source)
    params = tree["params"]
    ema = sharding.copied(state.of_side(params, "generator"))
    return fresh.replace(**tree, ema=None if fresh.ema is None else ema)


def _of_run(source: epath.Path, config: ConfigDict) -> tuple[Any, int, Sequence[str]]:
    """Returns the weights `{'params', 'extra'}` by network, their step, and the label names."""
    shapes = state.shapes_of(config, models.build(config))
    old = Checkpoints(source / run_folder.CHECKPOINTS).restore(shapes)
    if old is None:
        raise FileNotFoundError(f"--init_from={source}: the run has no checkpoint yet")
    # The averaged weights, if there are any.
    trained = {name: tree["params"] for name, tree in old.eval_variables().items()}
    names = run_folder.last_start(source).get("label_names", [])
    return {"params": {**old.params, **trained}, "extra": old.extra}, int(old.step), names


def _of_release(source: epath.Path, _: ConfigDict) -> tuple[Any, int, Sequence[str]]:
    released = release.load(source)
    params = {name: tree["params"] for name, tree in released.variables.items()}
    extra = {
        name: {key: value for key, value in tree.items() if key != "params"}
        for name, tree in released.variables.items()
    }
    return {"params": params, "extra": extra}, released.step, released.label_names


def _check_same_networks(config: ConfigDict, old: ConfigDict, source: epath.Path) -> None:
    new_values, old_values = (flatten_dict(c.model.to_dict(), sep=".") for c in (config, old))
    for key in sorted(new_values.keys() | old_values.keys()):
        new, before = new_values.get(key), old_values.get(key)
        if new != before and not key.endswith("dtype") and key != "initialization":
            raise ValueError(
                f"config.model.{key} = {new!r}, but the weights of --init_from={source} were "
                f"trained with {before!r}: give --config.model.{key}={before}"
            )


def match(
    new: ConfigDict, new_names: Sequence[str], old: ConfigDict, old_names: Sequence[str]
) -> list[int | None]:
    """Returns the old label of each new label.

    Args:
      new: `config.data` of the new run.
      new_names: its label names, empty if unknown.
      old: `config.data` of the old run.
      old_names: its label names, empty if unknown.

    Returns:
      By new label, the old label of the same name if both runs have names. Otherwise, and for
      labels without one, the old label that takes the smallest number of the new label in their
      label maps. None without a match, or if only one of the two has a name.
    """
    places = {name: label for label, name in enumerate(old_names) if name}
    if new_names and old_names and all(new_names):
        return [places.get(name) for name in new_names]
    by_number = _match_numbers(new, old)
    if not (new_names and old_names):
        return by_number
    return [
        places.get(name) if name else None if number is None or old_names[number] else number
        for name, number in zip(new_names, by_number, strict=True)
    ]


def _match_numbers(new: ConfigDict, old: ConfigDict) -> list[int | None]:
    old_labels = table(old.label_map, old.num_labels, old.get("ignore_label", -1))
    found: list[int | None] = []
    for number in LabelMap.of(new).numbers:
        old_label = int(old_labels[number]) if number >= 0 else UNMAPPED
        found.append(old_label if 0 <= old_label < old.num_labels else None)
    return found


def _tell(matches: Matches, names: Sequence[str], source: epath.Path, step: int) -> None:
    named = [*names] or [f"label {label}" for label in range(len(matches))]
    fresh = [name for name, old in zip(named, matches, strict=True) if old is None]
    logging.info(
        "starting from step %d of %s; labels with fresh weights: %s",
        step,
        source,
        ", ".join(fresh) or "none",
    )


def _tell_numbers(matches: Matches, names: Sequence[str], old_names: Sequence[str]) -> None:
    """Warns that labels were matched by numbers, which may number different things."""

    def named(known: Sequence[str], label: int) -> str:
        return known[label] if known else f"label {label}"

    logging.warning(
        "the two runs have different config.data.label_map, and not both have names of labels, so "
        "labels were matched by the numbers in label maps. End this run if that is wrong: %s",
        ", ".join(
            f"{named(names, label)} from {named(old_names, old)}"
            for label, old in enumerate(matches)
            if old is not None
        ),
    )


def _transplanted(
    fresh: Any, given: Any, matches: Matches, config: ConfigDict, old_config: ConfigDict
) -> Any:
    """Returns a tree like `fresh`, `{'params', 'extra'}` by network, with `given`'s weights."""
    if [*matches] == [*range(old_config.data.num_labels)]:
        return {kind: {**fresh[kind], **given[kind]} for kind in fresh}
    if models.family_of(config).grouped_by_label:
        raise ValueError(
            f"config.model.family = {config.model.family!r}: its layers are grouped by label, so "
            "--init_from needs a run with the same labels"
        )
    axes = _label_axes(fresh, config)
    sources = dict(jax.tree_util.tree_leaves_with_path(given))

    def take(path, leaf):
        axis = axes[path]
        if path not in sources:  # of the discriminator, which releases lack
            return leaf
        if axis is None:
            return sources[path]
        network = path[1].key
        result, source = (np.moveaxis(np.array(a), axis, 0) for a in (leaf, sources[path]))
        rows = _rows(network, len(result), config)
        old_rows = _rows(network, len(source), old_config)
        result[: rows[0][0]] = source[: old_rows[0][0]]
        for label, old_label in enumerate(matches):
            if old_label is not None:
                # The background may have another number of latents than other labels.
                count = min(len(rows[label]), len(old_rows[old_label]))
                result[rows[label][:count]] = source[old_rows[old_label][:count]]
        return jnp.asarray(np.moveaxis(result, 0, axis))

    return jax.tree_util.tree_map_with_path(take, fresh)


def _check_sizes(fresh: Any, taken: Any, old: ConfigDict, source: epath.Path) -> None:
    """Checks that weights have the shapes of fresh ones; some depend on the image size."""
    for (path, new), leaf in zip(
        jax.tree_util.tree_leaves_with_path(fresh), jax.tree.leaves(taken), strict=True
    ):
        if new.shape != leaf.shape:
            name = "/".join(str(key.key) for key in path[1:])
            raise ValueError(
                f"--init_from={source}: {name} has the shape {leaf.shape} there and {new.shape} "
                "here, because it depends on the image size: give that of the other run, "
                f"--config.data.height={old.data.height} --config.data.width={old.data.width}"
            )


def _label_axes(fresh: Any, config: ConfigDict) -> dict[Any, int | None]:
    """Returns, by path, the axis whose length depends on the number of labels, or None."""
    more = config.copy_and_resolve_references()
    more.data.num_labels += 1
    axes: dict[Any, int | None] = {}
    shapes = state.abstract(more, models.build(more))
    others = jax.tree.leaves({"params": shapes.params, "extra": shapes.extra})
    for (path, leaf), other in zip(jax.tree_util.tree_leaves_with_path(fresh), others, strict=True):
        longer = [i for i, length in enumerate(leaf.shape) if length != other.shape[i]]
        axes[path] = longer[0] if longer else None
    return axes


def _rows(network: str, size: int, config: ConfigDict) -> list[np.ndarray]:
    """Returns the places along an axis that belong to each label."""
    labels = config.data.num_labels
    if "latents_per_label" in config.model and network != "discriminator":
        model = config.model
        owners = LatentLayout(labels, model.latents_per_label, model.background_latents).owners
        if size == len(owners):
            return [np.flatnonzero(owners == label) for label in range(labels)]
    # What comes before the labels: an image's channels, or OASIS's logit of generated pixels.
    return [np.array([size - labels + label]) for label in range(labels)]
