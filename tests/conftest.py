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

# Tests start with these files, the longest first, so that the workers end together.
_LONGEST_FILES = (
    "test_processes.py",
    "test_train.py",
    "test_families.py",
    "test_steps.py",
    "test_meshes.py",
    "test_baselines.py",
    "test_models.py",
    "test_large_batch.py",
)


def pytest_collection_modifyitems(items):
    order = {name: i for i, name in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture
def golden():
    return Golden
