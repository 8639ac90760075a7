"""Reading PyTorch's weights: faults are named, whole checkpoints arrive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from test_steps import golden_run

from scam_jax import convert
from scam_jax.models.primitives import Conv, Linear
from scam_jax.torch_names import ENCODERS


def linear():
    return jax.eval_shape(Linear(3).init, jax.random.key(0), jnp.zeros((1, 2)))


def test_layouts():
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    variables = convert.from_torch(
        {"weight": weight, "bias": np.ones(3, np.float32)}, linear(), ENCODERS["scam"]
    )
    np.testing.assert_array_equal(variables["params"]["kernel"], weight.T)
    shapes = jax.eval_shape(Conv(5).init, jax.random.key(0), jnp.zeros((1, 4, 4, 2)))
    weight = np.random.RandomState(0).standard_normal((5, 2, 3, 3)).astype(np.float32)
    variables = convert.from_torch(
        {"weight": weight, "bias": np.zeros(5)}, shapes, ENCODERS["scam"]
    )
    assert variables["params"]["kernel"][1, 2, 0, 4] == weight[4, 0, 1, 2]


def test_faults_are_all_named():
    given = {"weight": np.zeros((2, 3)), "scale.inv_freq": np.zeros(4), "extra.weight": np.zeros(1)}
    with pytest.raises(ValueError, match="3 entries do not fit") as error:
        convert.from_torch(given, linear(), ENCODERS["scam"])
    message = str(error.value)
    assert "missing: bias" in message
    assert "misshapen: weight gives (3, 2), the network's kernel is (2, 3)" in message
    assert "unexpected: extra.weight (1,)" in message
    assert "inv_freq" not in message


def lightning_checkpoint(golden) -> dict:
    g = golden("train_steps")
    tensors = {
        f"{n}.{key}": array
        for n in convert.NETWORKS
        for key, array in g.group(f"init/{n}/").items()
    }
    return {**tensors, "fid.inception.weight": np.zeros(3)}


def test_whole_checkpoint(golden):
    state = convert.convert_scam(lightning_checkpoint(golden), golden_run())
    latents = golden("train_steps")["init/encoder/latents"]
    np.testing.assert_array_equal(state.params["encoder"]["latents"], latents)
    assert state.step == 0


def test_checkpoint_of_another_size_is_refused(golden):
    config = golden_run()
    config.model.latent_dim = 32
    with pytest.raises(ValueError, match=r"(?s)encoder: \d+ entries .*misshapen: backbone"):
        convert.convert_scam(lightning_checkpoint(golden), config)


def test_no_such_torch_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model.ckpt"):
        convert.read_torch(tmp_path / "model.ckpt")


def test_small_config_is_valid():
    from scam_jax.config import validate

    validate(small.config())
