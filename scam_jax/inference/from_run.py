"""Loads a trained model from the checkpoints of a run."""

import pathlib

from scam_jax import models
from scam_jax.inference.release import Release
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints


def load(folder: pathlib.Path, checkpoint: str | int) -> Release:
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
    shapes = state.abstract(config, models.build(config))
    restored = Checkpoints(place).restore_trained(shapes, step)
    if restored is None:
        best = place.name == run_folder.BEST
        remedy = "train with config.train.keep_best" if best else "train first"
        raise FileNotFoundError(f"{place} holds no checkpoint yet: {remedy}")
    names = run_folder.last_start(folder).get("label_names", [])
    return Release(config, restored.eval_variables(), int(restored.step), names)
