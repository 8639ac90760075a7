"""A release beside the run that it is of: seconds and bytes, `python -m benchmarks.release`.

Saves runs of the demo's size and of CelebA's (random weights) and exports them. Then it loads each
and transfers one subject, in processes of their own, in turn: the run and the release by
`TrainedModel`, and the release by its own `run_exported.py`.
"""

import json
import pathlib
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks import inputs, timing
from configs import synthetic
from scam_jax import models
from scam_jax.inference import from_run, release
from scam_jax.inference.model import TrainedModel
from scam_jax.runs import run_folder

_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each way is timed.")
_CALLS = flags.DEFINE_integer("calls", 5, "Warm calls of each round; their median counts.")
_MEASURE = flags.DEFINE_string("measure", None, "WAY|FOLDER: measures a way; prints what it took.")
# What is timed of each way.
_STAGES = ("load", "first call", "warm call")
# Loads a folder; returns a function of a subject and a target, as batches of one.
Load = Callable[[pathlib.Path], Callable[..., Any]]


def _model(folder: pathlib.Path) -> Callable[..., Any]:
    model = TrainedModel.load(folder)
    return lambda *pictures: model.transfer(*(picture[0] for picture in pictures))


def _alone(folder: pathlib.Path) -> Callable[..., Any]:
    return runpy.run_path(str(folder / "run_exported.py"))["load"](folder)


WAYS: dict[str, tuple[str, Load]] = {
    "run, TrainedModel": ("run", _model),
    "release, TrainedModel": ("release", _model),
    "release, run_exported.py": ("release", _alone),
}


def measure(way: str, folder: pathlib.Path) -> dict[str, float]:
    """Returns the seconds of each stage; to be called once per process."""
    data = run_folder.load_config(folder).data
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, data.height, data.width, 3), dtype=np.uint8)
    labels = random.integers(0, data.num_labels, (1, data.height, data.width), dtype=np.uint8)
    times = [time.perf_counter()]
    transfer = WAYS[way][1](folder)
    times.append(time.perf_counter())
    for _ in range(1 + _CALLS.value):
        transfer(image, labels, image, labels)
        times.append(time.perf_counter())
    load, first, *warm = np.diff(times).tolist()
    return dict(zip(_STAGES, (load, first, statistics.median(warm)), strict=True))


def measure_apart(way: str, folder: pathlib.Path) -> dict[str, float]:
    """Returns what `measure` does, of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.release", f"--measure={way}|{folder}"]
    command += [f"--calls={_CALLS.value}"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def prepare(config: ConfigDict, folder: pathlib.Path) -> str:
    """Writes `folder/run` and `folder/release`; returns their sizes as a row of a table."""
    inputs.save_run(config, folder / "run")
    trained = from_run.load(folder / "run", "newest")
    for dtype, name in (("bfloat16", "half"), ("float32", "release")):
        release.write(folder / name, models.build(config), trained, {}, "", dtype)
    sizes = [
        _megabytes(folder / "run" / run_folder.CHECKPOINTS),
        _megabytes(folder / "release" / release.WEIGHTS),
        _megabytes(folder / "half" / release.WEIGHTS),
        _megabytes(folder / "release" / "programs"),
    ]
    return " | ".join(f"{size:.1f}" for size in sizes)


def _megabytes(place: pathlib.Path) -> float:
    files = [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file()]
    return sum(f.stat().st_size for f in files) / 1e6


def main(argv: list[str]) -> None:
    if _MEASURE.value:
        way, folder = _MEASURE.value.split("|")
        print(json.dumps(measure(way, pathlib.Path(folder))))
        return
    print(timing.heading("python -m benchmarks.release"))
    sizes = {"CelebA": inputs.config()}
    if not inputs.TOY.value:
        sizes = {"demo": synthetic.get_config(), **sizes}
    with tempfile.TemporaryDirectory() as place:
        print(
            "| MB on disk | checkpoint | weights | in bfloat16 | programs |\n|---|---|---|---|---|"
        )
        for size, config in sizes.items():
            print(f"| {size} | {prepare(config, pathlib.Path(place, size))} |")
        print("\n| transfer, s | " + " | ".join(_STAGES) + " | warm / run |\n|---|---|---|---|---|")
        for size in sizes:
            found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(_ROUNDS.value):
                for way, (kind, _load) in WAYS.items():
                    found[way].append(measure_apart(way, pathlib.Path(place, size, kind)))
            medians = {
                way: [statistics.median(r[stage] for r in results) for stage in _STAGES]
                for way, results in found.items()
            }
            of_run = medians["run, TrainedModel"][-1]
            for way, times in medians.items():
                cells = " | ".join(f"{seconds:.2f}" for seconds in times)
                print(f"| {size}: {way} | {cells} | {times[-1] / of_run:.2f} |")


if __name__ == "__main__":
    app.run(main)
