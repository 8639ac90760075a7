"""Mutated photos and label maps: each gives an answer or one line that names the file."""

import multiprocessing
import os
import pathlib
import resource
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
from helpers.mutations import mutations
from helpers.program import ROOT
from PIL import Image

SECONDS, MEGABYTES = 10, 1000


def write_folder(root: pathlib.Path) -> None:
    """Writes the folder data set of the toy run: 12 + 4 + 4 random photos of 20×16."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)
            labels = rng.integers(0, 3, (20, 16), dtype=np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{i}.png")
            Image.fromarray(labels).save(root / split / "labels" / f"{i}.png")


def campaign(root: pathlib.Path, count: int) -> Counter:
    """Sends mutated pairs through reader and transfer, and through the checker all at once.

    Raises:
      AssertionError: a crash, a hang, too much memory, or an error that does not name its file.
    """
    write_folder(root)
    pairs = [_written(root / "train", *mutation) for mutation in mutations(count)]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(os.cpu_count(), initializer=_prepare) as pool:
        outcomes = Counter(pool.imap_unordered(_try, pairs, chunksize=20))
    wrong = [outcome for outcome in outcomes if not outcome.startswith(("read", "refused"))]
    assert not wrong, "\n".join(wrong[:20])
    command = [sys.executable, "-m", "data.checker", str(root), "--num_labels=4"]
    output = f"--output={root / 'check.png'}"
    checked = subprocess.run(
        [*command, output], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS * count
    )
    assert checked.returncode in (0, 1), checked.stderr
    assert "Traceback" not in checked.stdout + checked.stderr, checked.stderr
    return outcomes


def _written(folder: pathlib.Path, name: str, photo: bytes, labels: bytes) -> tuple:
    pair = folder / "images" / f"{name}.jpg", folder / "labels" / f"{name}.png"
    for file, content in zip(pair, (photo, labels), strict=True):
        file.write_bytes(content)
    return pair


def _prepare() -> None:
    from helpers import small

    from scam_jax import TrainedModel, models
    from scam_jax.training import state

    global _MODEL, _TARGET
    config = small.shallow(data__num_labels=4)
    variables = state.create(config, models.build(config)).eval_variables()
    _MODEL = TrainedModel(config, variables)
    _TARGET = np.zeros((16, 16, 3), np.uint8), np.ones((16, 16), np.uint8)
    _MODEL.transfer(*_TARGET, *_TARGET)


def _try(pair: tuple[pathlib.Path, pathlib.Path]) -> str:
    signal.signal(signal.SIGALRM, _raise)
    signal.alarm(SECONDS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        picture = _MODEL.read(*pair)
        image = _MODEL.transfer(*picture, *_TARGET)
        assert image.shape == (16, 16, 3)
        outcome = "read and transferred"
    except (ValueError, OSError) as error:
        names_file = any(str(file) in str(error) for file in pair)
        is_line = "\n" not in str(error)
        outcome = "refused in one line"
        if not (names_file and is_line):
            outcome = f"{pair[0]}: says {error!r}"
    except BaseException as error:
        outcome = f"{pair[0]}: {error!r}"
    finally:
        signal.alarm(0)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    return outcome if used < MEGABYTES else f"{pair[0]}: {used:.0f} MB"


def _raise(number, frame):
    raise TimeoutError(f"longer than {SECONDS} s")
