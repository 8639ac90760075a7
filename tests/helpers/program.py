"""The program as a user runs it, main.py in processes of its own, and what it trains on."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from scam_jax import models
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[2]
# The longest that processes may take, in seconds.
LONGEST = 600
# Runs command lines of main.py one after the other.
_IN_TURN = """
import json, sys
import main
from absl.testing import flagsaver
from scam_jax.runs import command_line
main.terminal.show_own_log()
for words in json.loads(sys.argv[1]):
    with flagsaver.flagsaver():
        main.main(command_line.parse(["main.py", *words]))
"""


def _of_all_workers(
    tmp_path_factory, name: str, make: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """A folder that all workers read. The first one that asks for it makes it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder data set of 6 + 2 + 3 photos, and one that cannot be read."""
    return _of_all_workers(tmp_path_factory, "photos", _write_photos)


def _write_photos(root: pathlib.Path) -> None:
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


@pytest.fixture(scope="session")
def finished_once(photos, tmp_path_factory):
    """An uninterrupted run of one process with two devices, which no test may change."""

    def train(workdir):
        run(train_command(photos, workdir))

    return _of_all_workers(tmp_path_factory, "finished", train)


@pytest.fixture
def finished(finished_once, tmp_path_factory):
    """A copy of that run."""
    return shutil.copytree(finished_once, tmp_path_factory.mktemp("copied") / "finished")


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


class Process(subprocess.Popen):
    """A process that writes to files, so that it never waits for a reader."""

    def __init__(self, arguments, **options):
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 open as long as it
        pipes = dict(zip(("stdout", "stderr"), self._files, strict=True))
        super().__init__(arguments, **pipes, **options)

    def written(self) -> tuple[str, str]:
        """What it wrote to its stdout and stderr up to now."""
        # Without a seek: the process writes at the position of the same file.
        stdout, stderr = (
            os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
            for file in self._files
        )
        return stdout, stderr


def start(
    arguments, devices=2, variables=None, kind=subprocess.Popen, **options
) -> subprocess.Popen:
    environment = environment_of(devices) | (variables or {})
    return kind(arguments, cwd=ROOT, env=environment, text=True, **options)


def run(arguments, check=True, devices=2) -> subprocess.CompletedProcess:
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with start(arguments, devices, **pipes) as process:
        stdout, stderr = process.communicate()
    assert not check or process.returncode == 0, stderr
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def run_in_turn(*commands: list[str]) -> subprocess.CompletedProcess:
    """Runs several commands in one process. They are all to succeed."""
    words = [command[2:] for command in commands]
    return run([sys.executable, "-c", _IN_TURN, json.dumps(words)])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_two(arguments) -> list[Process]:
    """Two processes with a device each: together, the mesh that `run` has in one process."""
    together = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    return [
        start([*arguments, *together, f"--process_id={i}"], devices=1, kind=Process)
        for i in range(2)
    ]


@contextlib.contextmanager
def ended(processes: list[Process]) -> Iterator[list[Process]]:
    """Kills the processes that still run at the end of a block, and so after a failure."""
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def wait_until(reached: Callable[[], bool], processes: list[Process]) -> None:
    """Waits for something that processes are to reach while they run."""
    deadline = time.monotonic() + LONGEST
    while not reached():
        said = [(process.poll(), *process.written()) for process in processes]
        assert [code for code, *_ in said] == [None] * len(processes), said
        assert time.monotonic() < deadline, said
        time.sleep(0.02)


def wait_for(processes: list[Process], code: int = 0) -> list[tuple[str, str]]:
    """What each wrote to its stdout and stderr; all are to exit with `code`."""
    with ended(processes), contextlib.suppress(subprocess.TimeoutExpired):
        for process in processes:
            process.wait(LONGEST)
    written = [process.written() for process in processes]
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
