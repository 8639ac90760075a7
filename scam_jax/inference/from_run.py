"""Loads a trained model, and its parser, from the checkpoints of a run."""

from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.parsing import PhotoParser
from scam_jax.inference.release import Release
from scam_jax.runs import run_folder
from scam_jax.training import parser_step, state
from scam_jax.training.checkpoints import Checkpoints


def load(folder: epath.Path, checkpoint: str | int) -> Release:
    """Returns what a release of a run would hold.

    Args:
      folder: the run's folder.
      checkpoint: 'newest', 'best' or a step, see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no run, or it has no such checkpoint yet.
      CheckpointError: there are checkpoints, but none can be read.
    """
    config = run_folder.load_config(folder)
    place = folder / (run_folder.BEST if checkpoint == "best" else run_folder.CHECKPOINTS)
    step = None if checkpoint in ("newest", "best") else int(checkpoint)
    shapes = state.shapes_of(config, models.build(config))
    restored = Checkpoints(place).restore_trained(shapes, step)
    if restored is None:
        best = place.name == run_folder.BEST
        remedy = "train with config.train.keep_best" if best else "train first"
        raise FileNotFoundError(f"{place} holds no checkpoint yet: {remedy}")
    names = run_folder.last_start(folder).get("label_names", [])
    return Release(config, restored.eval_variables(), int(restored.step), names)


def load_parser(folder: epath.Path) -> PhotoParser | None:
    """Returns a run's parser, None if it has none yet.

    Args:
      folder: the run's folder.

    Raises:
      ValueError: it draws other labels than those of the run; names the key.
      CheckpointError: there are checkpoints, but none can be read.
    """
    place = folder / run_folder.PARSER
    if not run_folder.is_begun(place):
        return None
    config = run_folder.load_config(place)
    _require_same_labels(config.data, run_folder.load_config(folder).data, place)
    restored = Checkpoints(place / run_folder.CHECKPOINTS).restore(parser_step.shapes_of(config))
    if restored is None:
        return None
    # On the host, because evaluation draws label maps on all devices.
    params = jax.device_get(restored.params[parser_step.PARSER])
    return PhotoParser(config, params, run_folder.last_start(place).get("label_names", []))


def _require_same_labels(own: ConfigDict, data: ConfigDict, place: epath.Path) -> None:
    keys = ("num_labels", "label_map", "ignore_label")
    pairs: dict[str, tuple[Any, Any]] = {key: (own.get(key), data.get(key)) for key in keys}
    ours, theirs = (LabelColors.of(each, LabelMap.of(each)) for each in (own, data))
    pairs["colors"] = (ours and ours.colors, theirs and theirs.colors)
    for key, (before, now) in pairs.items():
        if before != now:
            raise ValueError(
                f"the parser in {place} was trained with config.data.{key} = {before!r}, and its "
                f"run has {now!r} now: move that folder away, and train a parser again by "
                "main.py --mode=parser"
            )
