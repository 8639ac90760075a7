"""Programs on CPUs keep the memory that they free, and only they."""

import os
import subprocess
import sys

import pytest
from helpers import program

from scam_jax import host_memory

# Prints how many pages the system clears for the second of two blocks of 200 MB.
SCRIPT = """
import ctypes, resource
from scam_jax import host_memory

host_memory.keep_freed()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = library.malloc(200 * 10**6)
    ctypes.memset(block, 1, 200 * 10**6)
    library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""

# The same for calls of a program that needs 100 MB beside its inputs and outputs. Small blocks may
# lie in what a call has freed, so that the next ones need new pages; in the end there is room.
PROGRAM = """
import resource
import statistics
from scam_jax import host_memory

host_memory.keep_freed()

import jax

host_memory.compute_on_calling_thread()
product = jax.jit(lambda x: (x[:, None] * x) @ x)
given = jax.numpy.ones(5000)
step = product.lower(given).compile()
assert step.memory_analysis().temp_size_in_bytes >= 100e6

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(step(given))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

jax.block_until_ready(given)
print(statistics.median(faults() for _ in range(15)))
"""


def pages_cleared(script: str = SCRIPT, **environment: str) -> int:
    own = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment = {**own, "JAX_PLATFORMS": "cpu", **environment}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=program.ROOT, env=environment
    )
    return int(float(ended.stdout))


pytestmark = pytest.mark.skipif(not host_memory.is_glibc(), reason="settings of glibc")


def test_freed_memory_is_kept():
    assert pages_cleared() < 40, "not even with huge pages"


def test_a_program_keeps_memory_that_only_the_main_thread_can_hold():
    assert pages_cleared(PROGRAM) < 40, "not even with huge pages"


def test_the_user_s_own_settings_count():
    # The block is given back: the system clears its 4 KiB pages, or larger ones, again.
    assert pages_cleared(MALLOC_ARENA_MAX="2") >= 95


def test_memory_is_left_alone_where_accelerators_may_be(monkeypatch, tmp_path):
    (tmp_path / "libtpu").mkdir()
    (tmp_path / "libtpu" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert not host_memory.only_cpus()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert host_memory.only_cpus()
