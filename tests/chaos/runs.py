"""Faults of training runs. Each experiment ends with the weights of an uninterrupted run.

An experiment is a sequence of rounds. A round starts the program, plants a fault and ends it. A run
that reaches its last step is compared with the uninterrupted one, and another run begins.
"""

import contextlib
import dataclasses
import math
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from helpers.program import command, free_port, saved_checksums, start

CONFIG = "tests/chaos/toy.py"
# Longest time from the start of the program to its end, in seconds.
LONGEST = 600.0
# A run that trains is killed after one to so many steps.
MOST_STEPS = 15
# JAX's coordinator says more in lines with microseconds.
OWN_ERROR = r"^E\d{4} \d\d:\d\d:\d\d \w+\.py"


@dataclasses.dataclass
class Toy:
    """The toy run: its data, a folder for its runs, and how to start it.

    Attributes:
      photos: the folder data set.
      folder: where runs lie.
      processes: the number of processes of the run.
      steps: the number of its steps; it evaluates twice.
      seconds: the time of a run that is not interrupted; `uninterrupted` measures it.
    """

    photos: pathlib.Path
    folder: pathlib.Path
    processes: int = 1
    steps: int = 100
    seconds: float = 0.0

    @property
    def run(self) -> pathlib.Path:
        """The folder of the run that meets faults."""
        return self.folder / "run"

    @property
    def log(self) -> pathlib.Path:
        """Its log, without a suffix. It does not lie beside the run, whose disk may be full."""
        return self.photos.parent / "log"

    def start(
        self, workdir: pathlib.Path, log: pathlib.Path, *options: str
    ) -> list[subprocess.Popen]:
        """Starts the program in its processes; they write to a log each."""
        arguments = [
            *command(f"--config={CONFIG}", f"--workdir={workdir}"),
            f"--config.data.directory={self.photos}",
            f"--config.eval.statistics_directory={self.folder / 'statistics'}",
            f"--config.train.num_steps={self.steps}",
            f"--config.eval.every={self.steps // 2}",
            *options,
        ]
        together = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={self.processes}"]
        started = []
        for i in range(self.processes):
            own = [*together, f"--process_id={i}"] if self.processes > 1 else []
            with log.with_suffix(f".{i}").open("w") as stream:
                pipes = dict(stdout=stream, stderr=subprocess.STDOUT)
                started.append(start([*arguments, *own], devices=1, **pipes))
        return started


def uninterrupted(toy: Toy) -> pathlib.Path:
    """A run from its first step to its last without a fault."""
    workdir, begun = toy.folder / f"uninterrupted_{toy.processes}", time.monotonic()
    processes = toy.start(workdir, toy.folder / "uninterrupted")
    codes = [process.wait(LONGEST) for process in processes]
    assert codes == [0] * toy.processes, (toy.folder / "uninterrupted.0").read_text()
    toy.seconds = time.monotonic() - begun
    return workdir


# A fault is planted while the processes run, and ends them; afterwards it may damage the run, and
# then returns True.
Fault = Callable[[random.Random, list[subprocess.Popen], Toy], bool]


def campaign(toy: Toy, fault: Fault, rounds: int, seed: int = 0) -> Counter:
    """Plants a fault in every round; returns the outcomes and how often they came.

    Raises:
      AssertionError: something was lost; says what.
    """
    reference, outcomes = uninterrupted(toy), Counter()
    workdir, log = toy.run, toy.log
    for i in range(rounds):
        # Of each round, so that its moment does not follow from how long the others took.
        rng = random.Random(f"{seed} {i}")
        processes = toy.start(workdir, log)
        is_damaged = fault(rng, processes, toy)
        outcome = _outcome(processes, log) + (", a file damaged" if is_damaged else "")
        outcomes[outcome] += 1
        print(f"round {i + 1} of {rounds}: {outcome}", file=sys.stderr, flush=True)
        if outcomes["finished"]:
            outcomes["finished"] -= 1
            outcomes["a run finished, equal to the bit"] += 1
            _compare(workdir, reference, toy.steps)
            shutil.rmtree(workdir)
    if workdir.exists():  # the last run goes on without a fault
        processes = toy.start(workdir, log)
        assert [p.wait(LONGEST) for p in processes] == [0] * toy.processes, _last_words(log)
        _compare(workdir, reference, toy.steps)
        outcomes["the last run finished, equal to the bit"] += 1
    return +outcomes


def _compare(workdir: pathlib.Path, reference: pathlib.Path, last: int) -> None:
    sums = [saved_checksums(folder / "checkpoints" / str(last)) for folder in (workdir, reference)]
    assert sums[0] == sums[1], f"{workdir}: other weights"
    metrics = [(folder / "metrics.jsonl").read_text() for folder in (workdir, reference)]
    assert metrics[0] == metrics[1], f"{workdir}: other metrics"
    best = [sorted(f.name for f in (folder / "best").iterdir()) for folder in (workdir, reference)]
    assert best[0] == best[1], f"{workdir}: another best checkpoint"
    left = [f.name for f in workdir.rglob("*.tmp")]
    assert len(left) <= 5, f"{workdir}: {left} are left over"


def _outcome(processes: list[subprocess.Popen], log: pathlib.Path) -> str:
    codes = {process.wait(LONGEST) for process in processes}
    if codes == {0}:
        return "finished"
    for i, process in enumerate(processes):
        words = _last_words(log, i)
        assert "Traceback" not in words, words
        if process.returncode == 1:
            errors = re.findall(OWN_ERROR, words, re.MULTILINE)
            assert len(errors) == 1, words
    if -signal.SIGKILL in codes:
        return "killed"
    assert codes == {1}, (codes, words)
    return "ended with one line"


def _last_words(log: pathlib.Path, process: int = 0) -> str:
    return log.with_suffix(f".{process}").read_text()[-5_000:]


def _wait_to_kill(rng: random.Random, processes: list[subprocess.Popen], toy: Toy) -> None:
    """Waits for a random moment: in half of the rounds any moment, else one while it trains."""
    log = toy.log.with_suffix(".0")
    if rng.random() < 0.5:
        steps, deadline = math.inf, time.monotonic() + rng.uniform(0, toy.seconds)
    else:
        steps, deadline = rng.randint(1, MOST_STEPS), time.monotonic() + LONGEST
    while processes[0].poll() is None and time.monotonic() < deadline:
        if log.read_text().count("] step ") >= steps:
            steps, deadline = math.inf, time.monotonic() + rng.uniform(0, 0.5)
        time.sleep(0.01)


def kill(rng: random.Random, processes: list[subprocess.Popen], toy: Toy) -> bool:
    """Kills every process, the second one a random moment after the first."""
    _wait_to_kill(rng, processes, toy)
    for process in rng.sample(processes, len(processes)):
        process.kill()
        time.sleep(rng.uniform(0, 1) if len(processes) > 1 else 0)
    return False


def kill_and_damage(rng: random.Random, processes: list[subprocess.Popen], toy: Toy) -> bool:
    """Kills the run, and then flips, cuts, empties or removes a file of its newest checkpoint."""
    kill(rng, processes, toy)
    if not any([process.wait() for process in processes]):
        return False  # it has finished before, and is compared as it is
    folder = toy.run / "checkpoints"
    steps = sorted(int(f.name) for f in folder.glob("*") if f.name.isdigit())
    if len(steps) < 2:  # the only checkpoint is left alone
        return False
    files = [file for file in (folder / str(steps[-1])).rglob("*") if file.is_file()]
    file = rng.choice(files)
    content = bytearray(file.read_bytes())
    if rng.random() < 0.25 or not content:
        file.unlink()
    elif rng.random() < 0.5:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
    else:
        file.write_bytes(content[: rng.randrange(len(content))])
    return True


def fill_disk(rng: random.Random, processes: list[subprocess.Popen], toy: Toy) -> bool:
    """Fills the file system of the run at a random moment, and frees it after the run's end."""
    _wait_to_kill(rng, processes, toy)
    filler = toy.folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    for process in processes:
        process.wait(LONGEST)
    filler.unlink()
    return False


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, megabytes: int) -> Iterator[pathlib.Path]:
    """Mounts a small file system in memory; needs root."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
