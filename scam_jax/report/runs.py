"""Reads runs from their folders and groups them into models: one model per config."""

import collections
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath
from flax import traverse_util

from scam_jax import buckets
from scam_jax.evaluation.results import FILE, Evaluation
from scam_jax.files import read_json, read_json_lines
from scam_jax.runs import changes, run_folder

SPLITS = ("test", "validation")
_CONFIG_KEYS = (
    *("seed", "data.name", "data.directory", "data.height", "data.width", "data.num_labels"),
    *("data.label_map", "train.num_steps", "train.batch_size"),
)
_START_KEYS = (
    *("step", "changes", "training_examples", "commit", "python", "versions", "devices"),
    "processes",
)


class Run(NamedTuple):
    """A training run.

    Attributes:
      folder: path as given or found.
      name: the folder's name, or the parent's name for a folder `seed_N`.
      seed: training seed.
      config: values by dotted key, without the seed and the parser's.
      starts: one entry of runs.jsonl per start or resume.
      curves: value by step, by metric; finite values only.
      last_step: last logged step; 0 if nothing was logged.
      evaluations: by split.
    """

    folder: epath.Path
    name: str
    seed: int
    config: Mapping[str, Any]
    starts: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Mapping[int, float]]
    last_step: int
    evaluations: Mapping[str, Evaluation]


class Model(NamedTuple):
    """Runs of one config with different training seeds, in the order of the seeds."""

    name: str
    runs: Sequence[Run]

    @property
    def config(self) -> Mapping[str, Any]:
        return self.runs[0].config

    @property
    def data(self) -> str:
        """Data set and image size; metrics of models are comparable where it is equal."""
        name, directory = self.config["data.name"], self.config["data.directory"]
        name = f"{name} {directory}" if name == "folder" and directory else name
        return f"{name}, {self.config['data.height']}×{self.config['data.width']}"

    def evaluated(self, split: str) -> list[Run]:
        """Returns the runs that have an evaluation of the split."""
        return [run for run in self.runs if split in run.evaluations]


def read(folders: Sequence[epath.Path]) -> list[Model]:
    """Reads all runs in and below folders.

    Args:
      folders: runs, or folders that contain runs.

    Returns:
      The models, in the order of the folders.

    Raises:
      FileNotFoundError: a folder does not exist or contains no run.
      ValueError: a file is damaged (the message names file and line), two runs share a name but
        not a config (the message names the first differing key), or two runs share name, config
        and seed.
    """
    found: dict[epath.Path, epath.Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: there is no such folder; give folders of runs")
        files = buckets.files_below(folder, run_folder.CONFIG_FILE)
        if not files:
            raise FileNotFoundError(
                f"{folder} is no run and holds none: there is no {run_folder.CONFIG_FILE} in it or "
                "below; give a folder that main.py trained in"
            )
        found |= {buckets.resolved(file.parent): file.parent for file in files}
    # What lies within a run, such as its release or its parser, is no run of its own.
    inner = {path for path in found if any(parent in found for parent in path.parents)}
    runs = [_read_run(folder) for path, folder in found.items() if path not in inner]
    _check_names(runs)
    return _models(runs)


def _read_run(folder: epath.Path) -> Run:
    path = buckets.resolved(folder)
    name = path.parent.name if re.fullmatch(r"seed_\d+", path.name) else path.name
    file = folder / run_folder.CONFIG_FILE
    config = traverse_util.flatten_dict(read_json(file), sep=".")
    _check_keys(_CONFIG_KEYS, config, file)
    # Neither says anything about the model. A study may go on with more seeds.
    config = {k: v for k, v in config.items() if not k.startswith(("parser.", "study."))}
    starts = []
    for where, start in read_json_lines(folder / run_folder.RUNS_FILE):
        _check_keys(_START_KEYS, start, where)
        starts.append(start)
    curves: dict[str, dict[int, float]] = collections.defaultdict(dict)
    for where, line in read_json_lines(folder / "metrics.jsonl"):
        for key, value in {"step": None, **line}.items():
            if not isinstance(value, int | float):
                raise ValueError(f"{where}: {key!r} is not a number")
            if math.isfinite(value):
                curves[key][line["step"]] = float(value)
    last_step = max(curves.pop("step", [0]))
    folders = {split: run_folder.evaluation(folder, split) for split in SPLITS}
    evaluations = {s: Evaluation.load(f) for s, f in folders.items() if (f / FILE).is_file()}
    return Run(folder, name, config.pop("seed"), config, starts, curves, last_step, evaluations)


def _check_keys(keys: Sequence[str], values: Mapping[str, Any], where: object) -> None:
    for key in keys:
        if key not in values:
            raise ValueError(f"{where}: {key!r} is missing, this is no file of a run")


def _check_names(runs: Sequence[Run]) -> None:
    for a, b in itertools.combinations(runs, 2):
        if a.name != b.name:
            continue
        both = f"{a.folder} and {b.folder} are both named {a.name!r}"
        for key, (old, new) in differing([a.config, b.config]).items():
            if not changes.matters(key):
                continue
            raise ValueError(
                f"{both}, but their configs differ in {key} ({old or 'none'} and {new or 'none'}): "
                "rename one of the folders"
            )
        if a.seed == b.seed:
            raise ValueError(
                f"{both} and have the same config and seed {a.seed}: give one of them, or rename a "
                "folder"
            )


def _models(runs: Sequence[Run]) -> list[Model]:
    by_config = collections.defaultdict(list)
    for run in runs:
        config = {key: value for key, value in run.config.items() if changes.matters(key)}
        by_config[json.dumps(config, sort_keys=True)].append(run)
    models = []
    for same in by_config.values():
        names = dict.fromkeys(run.name for run in same)
        groups = {", ".join(names): same}
        if len({run.seed for run in same}) < len(same):
            # Runs share config and seed, so only their names tell models apart.
            groups = {name: [run for run in same if run.name == name] for name in names}
        for name, some in groups.items():
            models.append(Model(name, sorted(some, key=lambda run: run.seed)))
    return models


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Returns the keys whose values differ, with the value of each config as JSON.

    An absent key has the value ''.
    """
    values = {
        key: [json.dumps(c[key], ensure_ascii=False) if key in c else "" for c in configs]
        for key in sorted({key for config in configs for key in config})
    }
    return {key: texts for key, texts in values.items() if len({*texts}) > 1}
