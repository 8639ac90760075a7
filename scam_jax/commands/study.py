"""Trains and evaluates variants of a config: `python main.py --mode=study --config=…`."""

import jax
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from scam_jax.commands.evaluate import evaluate
from scam_jax.commands.feed import OpenFeed
from scam_jax.commands.train import train
from scam_jax.devices.processes import StopRequest
from scam_jax.evaluation.results import FILE, Evaluation
from scam_jax.runs import run_folder, study


def run_study(
    config: ConfigDict,
    workdir: epath.Path,
    open_feed: OpenFeed,
    stop: StopRequest,
    *,
    accept_changes: bool = False,
    init_from: epath.Path | None = None,
) -> None:
    """Trains and evaluates every variant with every seed, and writes a report of all runs.

    Finished runs are neither trained nor evaluated again.

    Args:
      config: the whole config, with `study.variants` and `study.num_seeds`.
      workdir: folder for VARIANT/seed_N and report/.
      open_feed: opens a run's data.
      stop: see `train`.
      accept_changes: see `train`; for all runs.
      init_from: see `train`; for all runs.

    Raises:
      ValueError: a variant is impossible (names it), or see `train` and `evaluate`.
    """
    runs = study.runs_of(config, jax.device_count())
    for name, variant in runs.items():
        folder = workdir / name
        logging.info("study: %s", folder)
        train(variant, folder, open_feed, stop, accept_changes=accept_changes, init_from=init_from)
        if not _is_evaluated(run_folder.evaluation(folder, "test"), variant.train.num_steps):
            evaluate(variant, folder, open_feed, "test")
    if jax.process_index() == 0:
        # It draws with matplotlib, which takes a second to import.
        from scam_jax import report

        print(f"wrote {report.write([workdir / name for name in runs], workdir / 'report')}")


def _is_evaluated(folder: epath.Path, step: int) -> bool:
    """Returns whether `folder` has figures of `step`. A study may be repeated with more steps."""
    return (folder / FILE).is_file() and Evaluation.load(folder).step == step
