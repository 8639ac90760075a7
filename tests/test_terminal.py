"""What a user sees of an error: one line, whatever the machine and the moment."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest
from helpers import small
from helpers.program import ROOT, command, free_port, run, start, train_command

from scam_jax.commands import terminal
from scam_jax.devices import processes


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 15 bytes.\nmore"),
        jax.errors.JaxRuntimeError("INTERNAL: std::bad_alloc"),
    ],
)
def test_out_of_memory_names_what_needs_less(error):
    config = small.config(train__batch_size=64, train__accumulation_steps=2)
    message = (
        r"out of memory \(.*\): lower config.train.batch_size = 64, raise "
        r"config.train.accumulation_steps = 2, or set config.train.rematerialize = True \(now False"
    )
    with (
        pytest.raises(terminal.OutOfMemoryError, match=message) as raised,
        terminal.explaining_memory(config, "train"),
    ):
        raise error
    assert "\n" not in str(raised.value)


def test_out_of_memory_of_a_parser_names_its_own_values():
    with (
        pytest.raises(terminal.OutOfMemoryError, match=r"\): lower config.parser.batch_size = "),
        terminal.explaining_memory(small.config(), "parser"),
    ):
        raise MemoryError


def test_other_errors_of_the_device_stay():
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INVALID_ARGUMENT"),
        terminal.explaining_memory(small.config(), "train"),
    ):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: a bug")


@pytest.mark.parametrize(
    ("said", "is_lost"),
    [
        ("UNKNOWN: Gloo all-reduce failed: Read error: Connection reset by peer\nmore", True),
        ("INTERNAL: ncclRemoteError: remote error, or a connection was closed by peer", True),
        ("INVALID_ARGUMENT: a bug", False),
    ],
)
def test_a_process_that_lost_another_says_so_in_one_line(monkeypatch, caplog, said, is_lost):
    codes = []
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(processes, "end", codes.append)

    def command():
        raise jax.errors.JaxRuntimeError(said)

    terminal.run(command)
    assert codes == [1]
    (record,) = caplog.records
    assert ("another process of this run has ended" in record.message) == is_lost
    assert "\n" not in record.message
    assert (record.exc_info is None) == is_lost  # a bug keeps its traceback


def test_a_coordinator_s_port_in_use_is_named():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} cannot be used .*another port"):
            processes.join(f"127.0.0.1:{port}", 1, 0)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("127.0.0.1", "nobody answers there for 1 s .*start process 0"),
        ("no-such-host.invalid", "the host no-such-host.invalid is not known"),
    ],
)
def test_a_coordinator_that_is_not_there_is_named(monkeypatch, host, message):
    monkeypatch.setattr(processes, "_LONGEST_SEARCH", 1)
    with pytest.raises(ValueError, match=message):
        processes.join(f"{host}:{free_port()}", 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_a_missing_backend_says_what_to_install(photos, tmp_path, platform):
    with start(
        train_command(photos, tmp_path),
        variables={"JAX_PLATFORMS": platform},
        stderr=subprocess.PIPE,
    ) as process:
        _, words = process.communicate()
    assert process.returncode == 1
    assert re.search(rf"JAX_PLATFORMS = '{platform}': .*pip install 'jax\[tpu\]'", words)
    assert "Traceback" not in words


@pytest.mark.slow
@pytest.mark.parametrize("words", ["| jax.version", "loaded step", "process 0 of 1"])
def test_ctrl_c_ends_with_one_line(finished, words):
    """While the program is imported, while it evaluates, and while it reads the data."""
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    of_imports = {"PYTHONPROFILEIMPORTTIME": "1"} if "jax" in words else {}
    arguments = command("--mode=eval", f"--workdir={finished}")
    with start(arguments, variables=of_imports, **pipes) as process:
        assert any(words in " ".join(line.split()) for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, last = process.communicate()
    assert process.returncode == 130, last
    assert last.rstrip().endswith("interrupted")
    assert "Traceback" not in last


@pytest.mark.slow
def test_a_bad_file_is_the_last_word_of_workers_too(photos, tmp_path):
    own = shutil.copytree(photos, tmp_path / "photos")
    for file in own.glob("train/*/broken.*"):
        file.unlink()
    cut = own / "train" / "images" / "3.png"
    cut.write_bytes(cut.read_bytes()[:-200])  # its header is sound: who decodes it sees the fault
    options = ["--config.data.skip_bad_files=False", "--config.data.num_workers=2"]
    result = run(train_command(own, tmp_path / "run", *options), check=False)
    assert result.returncode == 1
    assert "3.png" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("program", ["main.py", "-m data.checker", "-m scam_jax.report"])
def test_a_terminal_that_is_not_utf_8_prints_every_message(tmp_path, program):
    name = tmp_path / "Größe – 中"
    place = f"--workdir={name}" if program == "main.py" else str(name)
    mode = ["--mode=eval"] if program == "main.py" else []
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, *program.split(), *mode, place],
        cwd=ROOT,
        env=environment,
        capture_output=True,
    )
    words = result.stderr.decode("ascii")
    assert result.returncode in (1, 2)
    assert "Gr\\xf6\\xdfe \\u2013 \\u4e2d" in words
    assert "Traceback" not in words


def test_reads_that_orbax_abandons_are_not_shown_but_other_errors_are(monkeypatch, capsys):
    monkeypatch.setattr(sys, "unraisablehook", terminal._hide_abandoned_reads)
    source = (
        "async def read():\n"
        "    try:\n"
        "        await Pause()\n"
        "    finally:\n"
        "        raise OSError('read of an array')\n"
    )

    class Pause:
        def __await__(self):
            yield

    for file, is_shown in (("/lib/orbax/checkpoint/serialization.py", False), ("/own.py", True)):
        names = {"Pause": Pause}
        exec(compile(source, file, "exec"), names)
        coroutine = names["read"]()
        coroutine.send(None)
        del coroutine
        assert ("read of an array" in capsys.readouterr().err) is is_shown


@pytest.mark.parametrize(
    "place",
    [
        """
class Interrupted:
    def __del__(self):
        interrupt()

def work():
    Interrupted()
""",
        """
def work():
    try:
        interrupt()
    except:
        pass
""",
    ],
    ids=["finalizer", "bare except"],
)
def test_ctrl_c_is_not_lost_where_python_or_a_library_drops_it(place):
    ended, seconds = run_interrupted(f"""
{place}
with console.ended_by_one_line("program"):
    work()
    time.sleep(120)
    print("went on")
""")
    assert seconds < 100
    assert ended.returncode == 130
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == ["program: interrupted"]


def test_what_ctrl_c_leaves_open_is_closed_once_without_hurry():
    ended, _ = run_interrupted("""
with console.ended_by_one_line("program"):
    try:
        interrupt()
    finally:
        time.sleep(1)
        print("closed")
""")
    assert ended.returncode == 130
    assert ended.stdout == "closed\n"
    assert ended.stderr.splitlines() == ["program: interrupted"]


def run_interrupted(program: str) -> tuple[subprocess.CompletedProcess, float]:
    head = """
import os, signal, time
from scam_jax import console

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
"""
    begun = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", head + program], cwd=ROOT, capture_output=True, text=True
    )
    return ended, time.monotonic() - begun
