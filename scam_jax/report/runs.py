"""Runs as their folders tell of them, and put together as models of several training seeds."""

import dataclasses
import functools
import itertools
import json
import math
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scam_jax.evaluation.results import FILE, Evaluation
from scam_jax.runs import run_folder

METRICS_FILE = "metrics.jsonl"
SPLITS = ("test", "validation")
_NEEDED = (
    *("seed", "data.name", "data.directory", "data.height", "data.width", "data.num_labels"),
    *("data.label_map", "train.num_steps", "train.batch_size"),
)
_OF_A_START = ("training_examples", "commit", "python", "versions", "devices", "processes")
_SEED_FOLDER = re.compile(r"seed_\d+")


@dataclasses.dataclass(frozen=True, order=True)
class DataSet:
    """What figures must share to be compared; `directory` is '' but for folders of one's own."""

    name: str
    directory: str
    height: int
    width: int

    def __str__(self) -> str:
        name = f"{self.name} {self.directory}".strip()
        return f"{name}, {self.height}×{self.width}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
      folder: as it was given or found.
      config: values by dotted key.
      starts: what each start ran with: the lines of runs.jsonl.
      curves: by metric, values by step; those that are not finite have no point.
      evaluations: by split, of those that were evaluated.
    """

    folder: pathlib.Path
    config: Mapping[str, Any]
    starts: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Mapping[int, float]]
    evaluations: Mapping[str, Evaluation]

    @property
    def name(self) -> str:
        """The model's: the folder's own, or its parent's for `seed_N`."""
        folder = self.folder.resolve()
        return folder.parent.name if _SEED_FOLDER.fullmatch(folder.name) else folder.name

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @functools.cached_property
    def identity(self) -> str:
        """Equal for runs that differ in their seed alone."""
        rest = {key: value for key, value in self.config.items() if key != "seed"}
        return json.dumps(rest, sort_keys=True)

    @property
    def data(self) -> DataSet:
        config = self.config
        directory = config["data.directory"] if config["data.name"] == "folder" else ""
        size = config["data.height"], config["data.width"]
        return DataSet(config["data.name"], directory, *size)

    @property
    def last_step(self) -> int:
        """The last that was logged; 0 before any."""
        return max((step for curve in self.curves.values() for step in curve), default=0)


@dataclasses.dataclass(frozen=True)
class Model:
    """Runs of one config with several training seeds, in the seeds' order."""

    name: str
    runs: Sequence[Run]

    @property
    def config(self) -> Mapping[str, Any]:
        """All of the runs' config but the seed."""
        return {key: value for key, value in self.runs[0].config.items() if key != "seed"}

    @property
    def data(self) -> DataSet:
        return self.runs[0].data

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    def evaluated(self, split: str) -> list[Run]:
        """The runs that were evaluated on a split."""
        return [run for run in self.runs if split in run.evaluations]


def read(folders: Sequence[pathlib.Path]) -> list[Model]:
    """The models of all runs in or below `folders`, in their order.

    Raises:
      FileNotFoundError: a folder is not there, or is no run and holds none.
      ValueError: a file is damaged (names it and the line), two runs have one name and different
        configs (names the first key that differs), or one config and seed twice.
    """
    found: dict[pathlib.Path, pathlib.Path] = {}
    for folder in folders:
        below = {run.resolve(): run for run in _find(folder, set())}
        if not below:
            raise FileNotFoundError(
                f"{folder} is no run and holds none: there is no {run_folder.CONFIG_FILE} in it or "
                "below; give a folder that main.py trained in"
            )
        found |= below
    return models_of([read_run(folder) for folder in found.values()])


def _find(folder: pathlib.Path, seen: set[pathlib.Path]) -> Iterator[pathlib.Path]:
    """Runs in or below a folder, each place once: links may lead in circles."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder; give folders of runs")
    seen.add(folder.resolve())
    if (folder / run_folder.CONFIG_FILE).is_file():
        yield folder
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and child.resolve() not in seen:
            yield from _find(child, seen)


def read_run(folder: pathlib.Path) -> Run:
    """A run's folder; raises ValueError for a damaged file, naming it and the line."""
    evaluations = {}
    for split in SPLITS:
        if (run_folder.evaluation(folder, split) / FILE).is_file():
            evaluations[split] = _evaluation(run_folder.evaluation(folder, split))
    return Run(
        folder,
        _config(folder / run_folder.CONFIG_FILE),
        _starts(folder / run_folder.RUNS_FILE),
        _curves(folder / METRICS_FILE),
        evaluations,
    )


def _parse(text: str, file: pathlib.Path, first_line: int = 1) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise ValueError(f"{file}, line {line}: not JSON ({error.msg}); mend the file") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{file}, line {first_line}: {{…}} is needed, not {text.strip()[:40]}")
    return parsed


def _lines(file: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of whole lines: the last is being written if it has no end."""
    text = file.read_text() if file.is_file() else ""
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        yield number, _parse(line, file, number)


def _config(file: pathlib.Path) -> dict[str, Any]:
    config = _flat(_parse(file.read_text(), file))
    for key in _NEEDED:
        if key not in config:
            raise ValueError(f"{file}: {key} is missing, this is not the config of a run")
    return config


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _starts(file: pathlib.Path) -> list[dict[str, Any]]:
    starts = []
    for number, start in _lines(file):
        missing = [key for key in _OF_A_START if key not in start]
        if missing:
            raise ValueError(f"{file}, line {number}: {missing[0]!r} is missing")
        starts.append(start)
    return starts


def _curves(file: pathlib.Path) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    for number, line in _lines(file):
        wrong = [key for key, value in line.items() if not isinstance(value, int | float)]
        if wrong or "step" not in line:
            key = wrong[0] if wrong else "step"
            raise ValueError(f"{file}, line {number}: {key!r} is not a number")
        step = line.pop("step")
        for name, value in line.items():
            if math.isfinite(value):
                curves.setdefault(name, {})[step] = float(value)
    return curves


def _evaluation(folder: pathlib.Path) -> Evaluation:
    file = folder / FILE
    _parse(file.read_text(), file)
    try:
        return Evaluation.load(folder)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is not what an evaluation writes ({error}): evaluate again, "
            "main.py --mode=eval"
        ) from error


def models_of(runs: Sequence[Run]) -> list[Model]:
    """Runs put together by their configs; raises ValueError as `read`."""
    _check_names(runs)
    by_config: dict[str, list[Run]] = {}
    for run in runs:
        by_config.setdefault(run.identity, []).append(run)
    models = []
    for group in by_config.values():
        # The same config and seed under two names: what differs is not in the config.
        if len({run.seed for run in group}) < len(group):
            names = dict.fromkeys(run.name for run in group)
            models += [_model([run for run in group if run.name == name]) for name in names]
        else:
            models.append(_model(group))
    return models


def _model(runs: Sequence[Run]) -> Model:
    runs = sorted(runs, key=lambda run: run.seed)
    for a, b in itertools.pairwise(runs):
        if a.seed == b.seed:
            raise ValueError(
                f"{a.folder} and {b.folder} are both named {a.name!r} and have the same config and "
                f"seed {a.seed}: give one of them, or rename a folder"
            )
    return Model(", ".join(dict.fromkeys(run.name for run in runs)), runs)


def _check_names(runs: Sequence[Run]) -> None:
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault(run.name, run)
        if other.identity == run.identity:
            continue
        key = differing_keys([other.config, run.config])[0]
        a, b = (json.dumps(r.config[key]) if key in r.config else "none" for r in (other, run))
        raise ValueError(
            f"{other.folder} and {run.folder} are both named {run.name!r}, but their configs "
            f"differ in {key} ({a} and {b}): rename one of the folders"
        )


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys, but the seed, whose values are not the same in all configs."""
    absent = object()
    keys = sorted({key for config in configs for key in config} - {"seed"})
    first = configs[0]
    return [
        key
        for key in keys
        if any(config.get(key, absent) != first.get(key, absent) for config in configs)
    ]
