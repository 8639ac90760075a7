"""The loop of docs/tpu.md brings a job of two hosts back."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

import pytest
from helpers.program import LONGEST, ROOT, environment_of, free_port, train_command

NUM_HOSTS = 2
# The shell of the page, as it is on two hosts that are folders. The script ends with the loops.
SCRIPT = """
on_all() { for host in 0 1; do (cd $host && bash -c "$1
wait") & done; wait; }
"""
# The Python of a host, which notes what it is given, and trains a small run instead.
PYTHON = """#!/bin/sh
echo "$@" >> ../given
echo $$ > ../process
cd {root} && exec {command} --process_id={host}
"""


@pytest.fixture
def folder(photos, tmp_path):
    """Two hosts, a program for each, and a `sleep` that does not sleep for long."""
    together = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={NUM_HOSTS}"]
    short = ("train.num_steps=4", "train.checkpoint_every=1", "eval.every=0")
    options = [f"--config.{value}" for value in short]
    command = shlex.join(train_command(photos, tmp_path / "run", *options, *together))
    for host in range(NUM_HOSTS):
        program = tmp_path / str(host) / "scam-jax" / ".venv" / "bin" / "python"
        write_program(program, PYTHON.format(root=ROOT, command=command, host=host))
    write_program(tmp_path / "bin" / "sleep", "#!/bin/sh\nexec /bin/sleep 1\n")
    return tmp_path


def write_program(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)


def loop_of_the_page() -> str:
    page = (ROOT / "docs" / "tpu.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if "loop.sh" in block)


@pytest.mark.slow
def test_the_loop_goes_on_after_a_host_is_taken_away(folder):
    environment = environment_of(devices=1) | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "BUCKET": "bucket",
    }
    shell = ["bash", "-c", SCRIPT + loop_of_the_page()]
    script = subprocess.Popen(shell, cwd=folder, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + LONGEST
        while not (folder / "run" / "checkpoints" / "1").exists():
            assert script.poll() is None, "the loops ended before the training"
            assert time.monotonic() < deadline, "the training does not begin"
            time.sleep(0.01)
        os.kill(int((folder / "1" / "process").read_text()), signal.SIGKILL)
        assert script.wait(LONGEST) == 0
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
    for host in map(str, range(NUM_HOSTS)):
        log = (folder / host / "scam-jax" / "train.log").read_text()
        given = (folder / host / "given").read_text().splitlines()
        assert len(given) >= 2
        assert given == [given[0]] * len(given)
        assert "--workdir=gs://bucket/celeba" in given[0]
        assert "resuming from step" in log
    metrics = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == [1, 2, 3, 4]
