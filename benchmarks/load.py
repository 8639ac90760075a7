"""Loading a trained model: seconds and memory, `python -m benchmarks.load`.

Saves a run of configs/celeba.py at its first step (random weights), then loads it in processes of
their own, in turn: as `TrainedModel.load` does, which builds shapes only and restores encoder and
generator alone, and by building random weights first and restoring the whole training state.
"""

import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from absl import app, flags

from benchmarks import inputs, timing
from scam_jax import models
from scam_jax.inference.model import TrainedModel
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints

_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each way is timed.")
_LOAD = flags.DEFINE_list("load", None, "WAY,RUN: loads a run and prints what that took.")


def load_whole_state(workdir: pathlib.Path) -> None:
    """Draws random weights, restores the whole training state over them, and keeps the model."""
    config = run_folder.load_config(workdir)
    fresh = state.create(config, models.build(config))
    checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS)
    restored = checkpoints.restore(state.shapes_of(config, models.build(config)))
    checkpoints.close()
    del fresh
    assert restored is not None  # the run was just saved
    TrainedModel(config, restored.eval_variables(), int(restored.step))


WAYS: dict[str, Callable[[pathlib.Path], object]] = {
    "TrainedModel.load": TrainedModel.load,
    "whole state": load_whole_state,
}


def load_apart(way: str, workdir: pathlib.Path) -> dict[str, float]:
    """Loads a run in a process of its own.

    Returns:
      'seconds' of loading, and 'gigabytes' of memory at the process's peak, imports included.
    """
    command = [sys.executable, "-m", "benchmarks.load", f"--load={way},{workdir}"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def peak_gigabytes() -> float:
    """Most memory that this process ever had; Linux only."""
    # ru_maxrss would start from the parent's memory.
    status = pathlib.Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) * 1024 / 1e9


def main(argv: list[str]) -> None:
    if _LOAD.value:
        way, run = _LOAD.value
        start = time.perf_counter()
        WAYS[way](pathlib.Path(run))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "gigabytes": peak_gigabytes()}))
        return
    print(timing.heading("python -m benchmarks.load"))
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder)
        inputs.save_run(inputs.config(), workdir)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(_ROUNDS.value):
            for way in WAYS:
                found[way].append(load_apart(way, workdir))
    print("| loading a run | s | time / whole state | GB at the peak |\n|---|---|---|---|")
    whole = statistics.median(r["seconds"] for r in found["whole state"])
    for way, results in found.items():
        seconds = statistics.median(r["seconds"] for r in results)
        memory = statistics.median(r["gigabytes"] for r in results)
        print(f"| {way} | {seconds:.2f} | {seconds / whole:.2f} | {memory:.2f} |")


if __name__ == "__main__":
    app.run(main)
