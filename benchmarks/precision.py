"""Whether bfloat16 trains as well as float32: `python -m benchmarks.precision`.

Trains the demo (`configs/synthetic.py`) in both, one after the other, and evaluates both: some 20
minutes on 2 CPU cores. Runs that are finished are not trained again.
"""

import pathlib
import subprocess
import sys

from absl import app, flags

from benchmarks import inputs, timing
from scam_jax.evaluation.results import AUTHORS, Evaluation
from scam_jax.runs import run_folder

_WORKDIR = flags.DEFINE_string("workdir", "runs/precision", "A folder for both runs.")

DTYPES = ("float32", "bfloat16")
SPLITS = ("validation", "test")
ROOT = pathlib.Path(__file__).parent.parent


def main_program(*arguments: str) -> None:
    subprocess.run([sys.executable, "main.py", *arguments], cwd=ROOT, check=True)


def toy_options(workdir: pathlib.Path) -> list[str]:
    """Draws photos, and returns the flags that train a tiny model on them for two steps."""
    photos = workdir / "photos"
    inputs.make_folder(photos)
    changes = {
        **inputs.TOY_CHANGES,
        "data.name": "folder",
        "data.directory": photos,
        "data.num_labels": inputs.NUM_LABELS,
        "train.batch_size": 2,
        "train.num_steps": 2,
        "eval.every": 0,
        "eval.num_seeds": 1,
        "eval.statistics_directory": workdir / "statistics",
    }
    return [f"--config.{key}={value}" for key, value in changes.items()]


def psnr(dtype: str) -> dict[str, float]:
    """Reconstruction PSNR (one mean squared error) of a run in `dtype`, trained if need be."""
    folder = ROOT / _WORKDIR.value
    workdir = folder / dtype
    options = [f"--config.model.dtype={dtype}", f"--workdir={workdir}"]
    if inputs.TOY.value:
        options += toy_options(folder)
    config = f"--config={ROOT / 'configs' / 'synthetic.py'}"
    main_program(config, *options)
    results = {}
    for split in SPLITS:
        main_program("--mode=eval", f"--workdir={workdir}", f"--split={split}")
        evaluation = Evaluation.load(run_folder.evaluation(workdir, split))
        (results[split],) = (
            f.mean for f in evaluation.figures if (f.metric, f.protocol) == ("PSNR", AUTHORS)
        )
    return results


def main(argv: list[str]) -> None:
    results = {dtype: psnr(dtype) for dtype in DTYPES}
    print(timing.heading("python -m benchmarks.precision"))
    print(f"| reconstruction, PSNR in dB | {' | '.join(DTYPES)} | difference |\n|---|---|---|---|")
    for split in SPLITS:
        values = [results[dtype][split] for dtype in DTYPES]
        cells = [f"{value:.2f}" for value in (*values, values[1] - values[0])]
        print(f"| {split} | {' | '.join(cells)} |")


if __name__ == "__main__":
    app.run(main)
