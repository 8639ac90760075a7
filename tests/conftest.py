"""The environment that all tests run in, and the fixtures that they share."""

import os
import tempfile

from helpers import environment

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has it all from the process that started it
    _COMPILED = tempfile.TemporaryDirectory()
    environment.set_up(os.environ.get("JAX_COMPILATION_CACHE_DIR", _COMPILED.name))

import pytest
from helpers.bucket import bucket_server  # noqa: F401 a fixture of all tests
from helpers.golden import Golden
from helpers.program import finished, finished_once, photos  # noqa: F401 fixtures of all tests

# Tests start with these files, the longest first, so that the workers end together.
_LONGEST_FILES = (
    "test_runs_in_buckets.py",
    "test_processes.py",
    "test_train.py",
    "test_restarts.py",
    "test_exported_programs.py",
    "test_chaos.py",
    "test_parser_program.py",
    "test_families.py",
    "test_steps.py",
    "test_meshes.py",
    "test_baselines.py",
    "test_models.py",
    "test_large_batch.py",
    "test_regions.py",
    "test_parser.py",
    "test_buckets.py",
    "test_evaluate.py",
)


def pytest_collection_modifyitems(items):
    order = {name: i for i, name in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture
def golden():
    return Golden
