"""The program as a user runs it, main.py in processes of its own, and what it trains on."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from scam_jax import models
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder data set of 6 + 2 + 3 photos, and one that cannot be read."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2), ("test", 3)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            image = random.integers(0, 256, (20, 16, 3), dtype=np.uint8)
            labels = random.integers(0, 3, (20, 16), dtype=np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{i}.png")
            Image.fromarray(labels).save(root / split / "labels" / f"{i}.png")
    shutil.copy(root / "train" / "labels" / "0.png", root / "train" / "labels" / "broken.png")
    (root / "train" / "images" / "broken.jpg").write_bytes(b"")
    return root


@pytest.fixture(scope="session")
def finished(photos, tmp_path_factory):
    """An uninterrupted run of one process with two devices."""
    workdir = tmp_path_factory.mktemp("finished")
    run(train_command(photos, workdir))
    return workdir


def command(*arguments) -> list[str]:
    return [sys.executable, "main.py", *map(str, arguments)]


def train_command(photos, workdir, *arguments) -> list[str]:
    return command(
        "--config=tests/helpers/small_run.py",
        f"--config.data.directory={photos}",
        f"--workdir={workdir}",
        *arguments,
    )


def environment_of(devices: int) -> dict[str, str]:
    flags = re.sub(r"device_count=\d+", f"device_count={devices}", os.environ["XLA_FLAGS"])
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "XLA_FLAGS": flags}


def start(arguments, devices=2, variables=None, **options) -> subprocess.Popen:
    environment = environment_of(devices) | (variables or {})
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, text=True, **options)


def run(arguments, check=True, devices=2) -> subprocess.CompletedProcess:
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with start(arguments, devices, **pipes) as process:
        stdout, stderr = process.communicate()
    assert not check or process.returncode == 0, stderr
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_two(arguments) -> list[subprocess.Popen]:
    """Two processes with a device each: together, the mesh that `run` has in one process."""
    together = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return [
        start([*arguments, *together, f"--process_id={i}"], devices=1, **pipes) for i in range(2)
    ]


def wait_for(processes: list[subprocess.Popen], code: int = 0) -> list[tuple[str, str]]:
    """What each wrote to its stdout and stderr; all are to exit with `code`."""
    written = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), written
    return written


def saved_checksums(checkpoint: pathlib.Path) -> dict[str, int]:
    """The checksums of all arrays of a state, as its checkpoint has them."""
    metadata = json.loads((checkpoint / "default" / "_METADATA").read_text())
    return metadata["custom_metadata"]["checksums"]


def restored(workdir):
    config = run_folder.load_config(workdir)
    networks = models.build(config)
    checkpoints = Checkpoints(workdir / "checkpoints")
    result = checkpoints.restore(state.shapes_of(config, networks))
    checkpoints.close()
    return result
