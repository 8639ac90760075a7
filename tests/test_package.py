"""What `import scam_jax` gives, and what it costs."""

import pytest

import scam_jax
from scam_jax.inference.model import TrainedModel


def test_the_front_door_is_the_trained_model():
    assert scam_jax.TrainedModel is TrainedModel


def test_unknown_attribute():
    with pytest.raises(AttributeError, match=r"'scam_jax' has no attribute 'Nothing'"):
        scam_jax.Nothing  # noqa: B018
