"""The folder of a run: its config, and a record of the versions and the commit it ran with."""

import collections
import importlib.metadata
import json
import operator
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from scam_jax import buckets, console
from scam_jax.files import read_json, read_json_lines, write, write_json
from scam_jax.training.committed import committed_steps

CONFIG_FILE, RUNS_FILE, METRICS_FILE = "config.json", "runs.jsonl", "metrics.jsonl"
CHECKPOINTS, BEST = "checkpoints", "best"
# Traces of training steps, see `config.train.profile`.
PROFILE = "profile"
# The run of a run's parser, within its folder.
PARSER = "parser"
SKIPPED_FILE = "skipped_files.json"
_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow-datasets",
    "grain",
    "ml_collections",
    "clu",
    "dm-pix",
    "numpy",
    "pillow",
)
# Keys of a config that are paths, with their values where the machine's own do not matter.
PLACES = {
    "data.directory": "",
    "data.manual_dir": "",
    "data.colors": "",
    "weights_directory": "weights",
    "eval.statistics_directory": "statistics",
}
# Those that may be in a bucket. The list of colours is, if the run is.
_IN_BUCKETS = ("data.directory", "data.colors")
# What the config of a release says of the release.
RELEASE = "release"
# The run's own copy of the list that `config.data.colors` names.
COLORS_FILE = "label_colors.txt"


def default(config: str) -> pathlib.Path:
    """Returns the default run folder of a config.

    Args:
      config: value of `--config`. For configs/celeba.py the folder is runs/celeba, and for
        configs/celeba.py:model=sean it is runs/celeba_sean.
    """
    name, _, choices = pathlib.Path(config).name.partition(":")
    chosen = [choice.partition("=")[2] for choice in choices.split(",") if choice]
    return pathlib.Path("runs") / "_".join([name.removesuffix(".py"), *chosen])


def place(name: str, value: str) -> pathlib.Path:
    """Converts the value of a setting to a path.

    Args:
      name: name of the setting, for the error.
      value: its value.

    Raises:
      ValueError: the value is a URL instead of a path in a file system.
    """
    if "://" in value:
        raise ValueError(
            f"{name}={value}: a place in a file system is needed; give the path of a folder that "
            "all hosts share, or mount the bucket and give its path"
        )
    return console.path(value)


def place_or_bucket(name: str, value: str) -> epath.Path:
    """Converts the value of a setting to a path in a file system or in a bucket.

    Args:
      name: name of the setting, for the error.
      value: its value.

    Raises:
      ValueError: it is a URL of another kind; or there is no such bucket, or no right to read it.
    """
    if not buckets.is_in_bucket(value):
        return epath.Path(place(name, value))
    buckets.check(name, value)
    return buckets.path(value)


def expand_places(config: ConfigDict) -> None:
    """Checks all paths of a config and expands `~` in them; raises the same errors as `place`."""
    for key in PLACES:
        try:
            value = operator.attrgetter(key)(config)
        except AttributeError as error:
            raise of_another_version(key) from error
        if value:
            checked = (place_or_bucket if key in _IN_BUCKETS else place)(f"config.{key}", value)
            config.update_from_flattened_dict({key: str(checked)})


def of_another_version(key: str) -> ValueError:
    """Returns the error of a config that lacks a key."""
    return ValueError(
        f"config.{key} is missing: the config is of another version of scam-jax, which its "
        "runs.jsonl names; use that one"
    )


def load_config(workdir: epath.Path) -> ConfigDict:
    """Returns the config that a run, or the run of a release, was last trained with.

    Raises:
      FileNotFoundError: `workdir` holds neither.
      ValueError: the file is damaged.
    """
    file = workdir / CONFIG_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {workdir} holds no run, give --workdir=RUN")
    remedy = "restore it, or move it away and resume with the config that the run was trained with"
    values = read_json(file, remedy)
    values.pop(RELEASE, None)
    config = ConfigDict(values)
    if (workdir / COLORS_FILE).is_file():
        config.data.colors = str(workdir / COLORS_FILE)
    return config


def is_released(workdir: epath.Path) -> bool:
    """Returns whether the config is that of a release; raises ValueError if it is damaged."""
    file = workdir / CONFIG_FILE
    return file.is_file() and RELEASE in read_json(file, "get the release again")


def evaluation(workdir: epath.Path, split: str) -> epath.Path:
    """Returns the folder of a split's figures and pictures."""
    return workdir / f"evaluation_{split}"


def check_files(workdir: epath.Path) -> None:
    """Reads the files that training goes on with; raises ValueError if one is damaged."""
    for name in (RUNS_FILE, METRICS_FILE):
        collections.deque(read_json_lines(workdir / name), maxlen=0)


def is_begun(workdir: epath.Path) -> bool:
    """Returns whether the run has weights. Until then its config may change freely."""
    return bool(committed_steps(workdir / CHECKPOINTS))


def last_start(workdir: epath.Path) -> dict[str, Any]:
    """Returns the entry of runs.jsonl about the run's last start, empty if there is none.

    Raises:
      ValueError: the file is damaged.
    """
    entries = [entry for _, entry in read_json_lines(workdir / RUNS_FILE)]
    return entries[-1] if entries else {}


def record(
    config: ConfigDict,
    workdir: epath.Path,
    *,
    began: float | None = None,
    step: int = 0,
    training_examples: int | None = None,
    training_data: str = "",
    label_names: Sequence[str] = (),
    changes: Mapping[str, tuple[Any, Any]] | None = None,
) -> None:
    """Writes the config, and appends a line about this start of the run to runs.jsonl.

    Args:
      config: the whole config.
      workdir: the run's folder, created if needed.
      began: when its command began, in seconds since 1970; now by default.
      step: the step that the run starts or resumes from.
      training_examples: number of training examples, or None if unknown.
      training_data: a digest of the training data, empty if unknown.
      label_names: names of the labels, empty if unknown.
      changes: what differs from the last start, (before, now) by dotted key.
    """
    write_json(workdir / CONFIG_FILE, config.to_dict())
    if config.data.colors:
        write(workdir / COLORS_FILE, buckets.path(config.data.colors).read_bytes())
    else:
        (workdir / COLORS_FILE).unlink(missing_ok=True)
    entry = {
        "began": round(time.time() if began is None else began, 3),
        "command": sys.argv,
        "step": step,
        "changes": dict(changes or {}),
        "seed": config.seed,
        "training_examples": training_examples,
        "training_data": training_data,
        "label_names": [*label_names],
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
    }
    entries = [entry for _, entry in read_json_lines(workdir / RUNS_FILE)]
    _write_starts(workdir, [*entries, entry])


def record_progress(workdir: epath.Path, step: int, seconds: Mapping[str, float]) -> None:
    """Adds to the last line of runs.jsonl which step the run has reached, and its time by part.

    Args:
      workdir: the run's folder.
      step: the step that was saved.
      seconds: seconds by part since the start, see `training.ledger`.
    """
    *others, last = [entry for _, entry in read_json_lines(workdir / RUNS_FILE)]
    rounded = {name: round(part, 3) for name, part in seconds.items()}
    _write_starts(workdir, [*others, {**last, "reached": step, "seconds": rounded}])


def _write_starts(workdir: epath.Path, entries: Sequence[Mapping[str, Any]]) -> None:
    write(workdir / RUNS_FILE, "".join(json.dumps(line) + "\n" for line in entries))


def record_skipped(
    skipped: Mapping[str, Mapping[str, str]], workdir: epath.Path, training_data: str
) -> None:
    """Writes the list of files that a run skips; the run uses this list from then on.

    Args:
      skipped: reasons, keyed by split and then by the name of the pair.
      workdir: the run's folder, created if needed.
      training_data: a digest of the training data.
    """
    write_json(workdir / SKIPPED_FILE, {"training_data": training_data, "skipped": skipped})


def load_skipped(workdir: epath.Path, training_data: str) -> dict[str, dict[str, str]] | None:
    """Reads the list of `record_skipped`; returns None if there is none of these data."""
    file = workdir / SKIPPED_FILE
    if not file.is_file():
        return None
    listed = read_json(file, "remove it: the next start searches for bad files anew")
    return listed["skipped"] if listed.get("training_data") == training_data else None


def _commit() -> str | None:
    """Returns the commit of the code, marked if files changed; None outside a git checkout."""
    folder = pathlib.Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        logging.warning("the commit of the code is unknown: %s", error)
        return None
    return result.stdout.strip()
