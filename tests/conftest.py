"""The environment that all tests run in, and the fixtures that they share."""

import importlib.metadata
import os
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has it all from the process that started it
    # Eight devices for the tests of data parallelism. Nearly all the time goes to compilation, so
    # XLA optimizes little.
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    # The older emitter of fusions compiles in half the time. Newer versions of XLA lack it, and
    # abort the process if they are asked for it.
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        flags += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Tests and processes share a cache, so that each program is compiled once.
    _COMPILED = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import pytest
from helpers.golden import Golden
from helpers.program import finished, photos  # noqa: F401 fixtures of all tests

# Begun first, for the workers to end together.
_LONGEST_FILES = ("test_processes.py", "test_train.py", "test_meshes.py", "test_steps.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in _LONGEST_FILES)


@pytest.fixture
def golden():
    return Golden
