"""What `import scam_jax` gives, and what it costs."""

import pathlib
import subprocess
import sys

import pytest

import scam_jax
from scam_jax.inference.model import TrainedModel


def test_the_front_door_is_the_trained_model():
    assert scam_jax.TrainedModel is TrainedModel


def test_unknown_attribute():
    with pytest.raises(AttributeError, match=r"'scam_jax' has no attribute 'Nothing'"):
        scam_jax.Nothing  # noqa: B018


def test_the_package_alone_does_not_import_jax():
    """Readers of data sets use modules of the package without JAX."""
    program = "import scam_jax, sys; assert 'jax' not in sys.modules"
    root = pathlib.Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)
