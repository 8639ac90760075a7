"""Files of a run: whole or not there, checked before the work, and held by one trainer."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from helpers import small, writing

from scam_jax import files
from scam_jax.commands import train
from scam_jax.runs import lock
from scam_jax.training.checkpoints import Checkpoints


def test_a_file_is_replaced_whole(tmp_path):
    file = tmp_path / "run" / "config.json"
    files.write(file, "old")
    with contextlib.suppress(ZeroDivisionError), files.replaced(file) as stream:
        stream.write(b"half of the n")
        assert file.read_text() == "old"
        raise ZeroDivisionError
    assert file.read_text() == "old"
    files.write(file, "grün\n")
    assert file.read_bytes() == "grün\n".encode()
    assert [f.name for f in file.parent.iterdir()] == ["config.json"], "nothing is left beside"


def test_what_killed_processes_left_is_removed(tmp_path):
    """But not what a process that lives is writing, here or on another host."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    (tmp_path / "evaluation_test").mkdir()
    old = [
        tmp_path / f".metrics.jsonl.{host}.{ended.pid}.tmp",
        tmp_path / "evaluation_test" / f".figures.json.{host}.{ended.pid}.tmp",
    ]
    others = [
        tmp_path / f".metrics.jsonl.{host}.{os.getpid()}.tmp",
        tmp_path / f".metrics.jsonl.elsewhere.{ended.pid}.tmp",
        tmp_path / "metrics.jsonl",
    ]
    for file in [*old, *others]:
        file.write_bytes(b"")
    files.remove_leftovers(tmp_path)
    assert not [file for file in old if file.exists()]
    assert all(file.exists() for file in others)


def test_many_processes_write_whole_files(tmp_path):
    file = tmp_path / "figures.json"
    contents = ["a" * 5000, "b" * 3000]
    files.write(file, contents[0])
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=writing.write_often, args=(file, c)) for c in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert file.read_text() in contents
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [f.name for f in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "config.json is empty; mend it"),
        (b"\n \n", "config.json is empty; mend it"),
        (b'{"a":\n 1', "config.json, line 2: not JSON .*; mend it"),
        (b"\0\0\0", "config.json, line 1: not JSON .*; mend it"),
        (b"\xff\xfe{}", "config.json, line 1: not JSON .*; mend it"),
        (b"[1]", r"config.json, line 1: \{…\} is needed"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        files.read_json(tmp_path / "config.json", "mend it")


def test_lines_are_read_up_to_the_one_being_written(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert list(files.read_json_lines(file)) == []
    file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for _, line in files.read_json_lines(file)] == [1, 2]
    file.write_text('{"step": 1}\n\n{"step": 2}')  # as editors leave it
    assert [line["step"] for _, line in files.read_json_lines(file)] == [1, 2]
    file.write_bytes(b'{"step": 1}\n\0\0\0\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: not JSON .*; remove this line"):
        list(files.read_json_lines(file))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(
        os, "fsync", lambda number: os.write(os.open("/dev/full", os.O_WRONLY), b"a")
    )
    with pytest.raises(OSError, match=r"No space left on device: make room: '.*/figures.json'"):
        files.write(tmp_path / "figures.json", "{}")
    assert [*tmp_path.iterdir()] == []


def test_a_run_that_cannot_be_written_is_refused_by_its_flag(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ValueError, match=r"--workdir = .*run"):
        train.train(small.config(), tmp_path / "run", None, None)


def test_an_unwritable_folder_is_named_by_its_key(tmp_path):
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(ValueError, match=r"--workdir = .*/run: nothing can be written there"):
        files.check_writable("--workdir", tmp_path / "blocked" / "run")
    files.check_writable("--workdir", tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_too_little_room_is_refused(tmp_path):
    files.check_room("3 checkpoints", tmp_path / "run" / "checkpoints", 1000)
    with pytest.raises(ValueError, match=r"3 checkpoints need 1,000,000,000,000 MB in .*/run, and"):
        files.check_room("3 checkpoints", tmp_path / "run", 10**18)


def test_a_second_trainer_is_refused_with_who_holds_the_run(tmp_path):
    run = tmp_path / "run"
    with lock.locked(run):
        with (
            pytest.raises(ValueError, match=rf"{run} is being trained by .*process {os.getpid()}"),
            lock.locked(run),
        ):
            pass
        assert (run / lock.FILE).is_file(), "the refused one leaves the lock alone"
    assert list(run.iterdir()) == []
    with lock.locked(run):
        pass


def test_the_lock_of_a_killed_process_blocks_nobody(tmp_path):
    program = (
        "import pathlib, sys, time; from scam_jax.runs import lock\n"
        "with lock.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {process.pid} on"), lock.locked(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    assert json.loads((tmp_path / lock.FILE).read_text())["process"] == process.pid
    with lock.locked(tmp_path):
        assert json.loads((tmp_path / lock.FILE).read_text())["process"] == os.getpid()


def test_training_tries_at_the_start_what_it_will_write(tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("a file")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    config = small.shallow(eval__statistics_directory=str(tmp_path / "blocked" / "statistics"))
    with pytest.raises(ValueError, match=r"config\.eval\.statistics_directory = .*/blocked/stat"):
        train._check_places(config, tmp_path / "run", checkpoints)
    config.eval.every = 0
    train._check_places(config, tmp_path / "run", checkpoints)
    free = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: free)
    with pytest.raises(ValueError, match=r"1 checkpoints \(config.train.keep_checkpoints = 2\) ne"):
        train._check_places(config, tmp_path / "run", checkpoints)
