"""Every benchmark runs at toy size. Its numbers mean nothing there, so none is looked at."""

import importlib.util
import pathlib
import sys

import pytest
from helpers import program

pytestmark = pytest.mark.slow

SHARED = {"__init__", "alternatives", "inputs", "timing"}
# The start of each script's table.
TABLES = {
    "attention": "| map | | plain, ms | dense, ms | tiles, ms |",
    "compile": "| config | trace, s | compile, s | program, MB | instructions |",
    "convolution": "| gradient-normalised PatchGAN, B=16, 64×64 | XLA ms | ours ms |",
    "host": "| freed memory, steps | ms | time / first |",
    "label_maps": "| map | ours, s | laid out, s | ratio |",
    "load": "| loading a run | s | time / whole state | GB at the peak |",
    "loader": "| source | augmentation | workers | images/s |",
    "models": "| model | encoder, M | generator, M | forward, GFLOP per image |",
    "optimizers": "| update of the demo | s to compile | instructions | ms |",
    "precision": "| reconstruction, PSNR in dB | float32 | bfloat16 | difference |",
    "release": "| transfer, s | load | first call | warm call | warm / run |",
    "step": "| step | s | images/s | of ours |",
    "transfer": "| transfer | s | of ours |",
}


def run(name: str, *arguments: str, check=True):
    return program.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check, devices=1)


def test_every_benchmark_is_run():
    scripts = {path.stem for path in (program.ROOT / "benchmarks").glob("*.py")}
    assert scripts - SHARED == {*TABLES, "pod"}


@pytest.mark.parametrize("name", TABLES)
def test_prints_its_table(name, tmp_path):
    options = {"models": [], "precision": [f"--workdir={tmp_path}"]}
    written = run(name, "--toy", *options.get(name, ["--rounds=1"])).stdout
    _, header, rows = written.partition(TABLES[name])
    assert header, written
    assert len(rows.splitlines()) > 2, written


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="would take minutes")
def test_pods_without_the_compiler():
    page = pathlib.Path(program.ROOT, "benchmarks", "pod.md")
    before = page.read_bytes()
    ended = run("pod", check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    (message,) = ended.stderr.splitlines()
    assert message.startswith("the TPU compiler, libtpu, is not installed: run `make pod-check`")
    assert page.read_bytes() == before
