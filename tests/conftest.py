"""Golden numbers of the authors' system, packed by tests/golden/pack.py."""

import functools
import json
import math
import os
import pathlib
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has it all from the process that started it
    # Devices for the tests of data parallelism; compiling matters more here than running.
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    )
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # A program that several tests and processes run is compiled once.
    _COMPILED = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name

import jax
import numpy as np
import pytest
from program import finished, photos  # noqa: F401 fixtures of all tests

_GOLDEN = pathlib.Path(__file__).parent / "golden" / "golden.npz"


@functools.cache
def _packed() -> tuple[dict, dict[str, np.ndarray]]:
    """The index, and the arrays that lie one behind the other, by type."""
    with np.load(_GOLDEN) as file:
        flat = {name: file[name] for name in file.files}
    return json.loads(flat.pop("index").tobytes()), flat


class Golden:
    """One golden file: its `meta`, its arrays by name, and groups of arrays by prefix."""

    def __init__(self, name: str):
        index, flat = _packed()
        self.meta = index[name]["meta"]
        self.arrays = {}
        for key, (dtype, start, *shape) in index[name]["arrays"].items():
            self.arrays[key] = flat[dtype][start : start + math.prod(shape)].reshape(shape)

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        return {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}

    def nhwc(self, key: str) -> np.ndarray:
        return self.arrays[key].transpose(0, 2, 3, 1)

    def labels(self, key: str = "in/label") -> np.ndarray:
        return self.arrays[key].astype(np.int32)


# Begun first, for the workers to end together.
_LONGEST_FILES = ("test_processes.py", "test_train.py", "test_meshes.py", "test_steps.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in _LONGEST_FILES)


@pytest.fixture
def golden():
    return Golden


def assert_close(ours, theirs, atol: float = 0.0, of_largest: float = 0.0) -> None:
    """Differences within `atol` + `of_largest` times the largest entry, where theirs was kept."""
    ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs)
    assert ours.shape == theirs.shape
    kept = ~np.isnan(theirs)
    assert kept.any()
    limit = atol + of_largest * np.abs(theirs[kept]).max()
    np.testing.assert_allclose(ours[kept], theirs[kept], rtol=0, atol=limit)


def assert_trees_close(ours, theirs, atol: float = 0.0, of_largest: float = 0.0) -> None:
    """`assert_close` of every leaf, naming the leaf."""

    def check(path, a, b):
        try:
            assert_close(a, b, atol, of_largest)
        except AssertionError as error:
            raise AssertionError(f"{jax.tree_util.keystr(path)}: {error}") from None

    jax.tree_util.tree_map_with_path(check, ours, theirs)
