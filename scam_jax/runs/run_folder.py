"""The folder of a run: its config, and a record of the versions and the commit it ran with."""

import importlib.metadata
import json
import operator
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from scam_jax.files import read_json, read_json_lines

CONFIG_FILE, RUNS_FILE, CHECKPOINTS = "config.json", "runs.jsonl", "checkpoints"
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
# Keys that a run cannot change once it has weights, and exceptions to them.
_FIXED = ("seed", "data", "model", "losses", "optimizer", "train.batch_size", "train.ema_decay")
_FREE = ("data.directory", "data.manual_dir", "data.num_workers")
_PLACES = ("data.directory", "data.manual_dir", "weights_directory", "eval.statistics_directory")


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
    return pathlib.Path(value)


def check_places(config: ConfigDict) -> None:
    """Checks all paths of a config; raises the same errors as `place`."""
    for key in _PLACES:
        place(f"config.{key}", operator.attrgetter(key)(config))


def load_config(workdir: pathlib.Path) -> ConfigDict:
    """Returns the config that a run was last trained with.

    Raises:
      FileNotFoundError: `workdir` holds no run.
    """
    file = workdir / CONFIG_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {workdir} holds no run, give --workdir=RUN")
    return ConfigDict(read_json(file))


def evaluation(workdir: pathlib.Path, split: str) -> pathlib.Path:
    """Returns the folder of a split's figures and pictures."""
    return workdir / f"evaluation_{split}"


def is_begun(workdir: pathlib.Path) -> bool:
    """Returns whether the run has weights. Until then its config may change freely."""
    checkpoints = workdir / CHECKPOINTS
    return checkpoints.is_dir() and any(f.name.isdigit() for f in checkpoints.iterdir())


def check_same_run(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Checks that a config matches the weights in `workdir`, if there are any.

    Raises:
      ValueError: a value differs from the run's; names the first one.
    """
    if not is_begun(workdir):
        return
    before, now = _flat(load_config(workdir)), _flat(config)
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old != new and key.startswith(_FIXED) and key not in _FREE:
            raise ValueError(
                f"config.{key} = {new!r}, but the run in {workdir} was trained with {old!r}: "
                "resume it with the same config, or start another run with --workdir"
            )


def record(config: ConfigDict, workdir: pathlib.Path, num_examples: int | None) -> None:
    """Writes the config, and appends a line about this start of the run to runs.jsonl.

    Warns if the number of training examples has changed since the last start, because their order
    depends on it.

    Args:
      config: the whole config.
      workdir: the run's folder, created if needed.
      num_examples: number of training examples, or None if unknown.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    starts = workdir / RUNS_FILE
    earlier = [entry for _, entry in read_json_lines(starts)]
    if earlier and is_begun(workdir):
        before = earlier[-1]["training_examples"]
        if None not in (before, num_examples) and before != num_examples:
            logging.warning(
                "there are %d training examples, but were %d when the run in %s was last started: "
                "from now on their order differs from that of an uninterrupted run",
                num_examples,
                before,
                workdir,
            )
    (workdir / CONFIG_FILE).write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    entry = {
        "command": sys.argv,
        "seed": config.seed,
        "training_examples": num_examples,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
    }
    with starts.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def record_skipped(skipped: Mapping[str, Mapping[str, str]], workdir: pathlib.Path) -> None:
    """Writes the list of files that a run skips; the run uses this list from then on.

    Args:
      skipped: reasons, keyed by split and then by the name of the pair.
      workdir: the run's folder, created if needed.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(skipped, indent=2, ensure_ascii=False)
    (workdir / SKIPPED_FILE).write_text(text + "\n")


def load_skipped(workdir: pathlib.Path) -> dict[str, dict[str, str]]:
    """Reads the list of `record_skipped`, empty if there is none; warns about skipped pairs."""
    file = workdir / SKIPPED_FILE
    skipped = read_json(file) if file.is_file() else {}
    for split, bad in skipped.items():
        logging.warning(
            "skipping %d pairs of %s, listed in %s; the first: %s",
            len(bad),
            split,
            file,
            next(iter(bad.values())),
        )
    return skipped


def _flat(config: ConfigDict, prefix: str = "") -> dict:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
