"""What each training begins with: one trainer a run, a record of the start, a writer of metrics."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from scam_jax.commands.feed import Feed
from scam_jax.files import remove_leftovers
from scam_jax.runs import lock, run_folder
from scam_jax.training.writer import Writer


@contextlib.contextmanager
def only_trainer(folder: epath.Path) -> Iterator[None]:
    """Holds a run's lock in the first process, and removes what killed processes left there.

    Raises:
      ValueError: another process trains the run; the message names it.
    """
    if jax.process_index():
        yield
        return
    with lock.locked(folder):
        remove_leftovers(folder)
        yield


def record(
    config: ConfigDict,
    folder: epath.Path,
    feed: Feed,
    began: float,
    step: int,
    changes: Mapping[str, Any],
) -> None:
    """Records a start in the run's folder, in the first process; see `run_folder.record`.

    A start that has nothing to train is not one: its changes say nothing about the run.
    """
    if jax.process_index() == 0 and step < config.train.num_steps:
        run_folder.record(
            config,
            folder,
            began=began,
            step=step,
            training_examples=feed.num_training_examples,
            training_data=feed.training_data,
            label_names=feed.label_names,
            changes=changes,
        )


def record_progress(folder: epath.Path, step: int, seconds: Mapping[str, float]) -> None:
    """Records which step a run has reached, in the first process, and its time by part."""
    if jax.process_index() == 0:
        run_folder.record_progress(folder, step, seconds)


def writer(folder: epath.Path, step: int) -> Writer | None:
    """Returns a writer of the run's metrics from a step on; None in all processes but the first."""
    return Writer(folder, step) if jax.process_index() == 0 else None
