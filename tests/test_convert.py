"""Reading PyTorch's weights: faults are named, VGG19 and whole checkpoints arrive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from conftest import assert_trees_close
from test_steps import golden_run

from scam_jax import convert
from scam_jax.models import vgg19
from scam_jax.models.primitives import Conv, Linear


def linear():
    return jax.eval_shape(Linear(3).init, jax.random.key(0), jnp.zeros((1, 2)))


def test_layouts():
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    variables = convert.from_torch({"weight": weight, "bias": np.ones(3, np.float32)}, linear())
    np.testing.assert_array_equal(variables["params"]["kernel"], weight.T)
    shapes = jax.eval_shape(Conv(5).init, jax.random.key(0), jnp.zeros((1, 4, 4, 2)))
    weight = np.random.RandomState(0).standard_normal((5, 2, 3, 3)).astype(np.float32)
    variables = convert.from_torch({"weight": weight, "bias": np.zeros(5)}, shapes)
    assert variables["params"]["kernel"][1, 2, 0, 4] == weight[4, 0, 1, 2]


def test_faults_are_all_named():
    given = {"weight": np.zeros((2, 3)), "scale.inv_freq": np.zeros(4), "extra.weight": np.zeros(1)}
    with pytest.raises(ValueError, match="3 entries do not fit") as error:
        convert.from_torch(given, linear())
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


def test_vgg19_survives_its_file(golden, tmp_path):
    params = convert.convert_vgg19(golden("losses").group("vgg/"))
    vgg19.save(tmp_path / "weights" / "vgg19.npz", params)
    loaded = vgg19.load(tmp_path / "weights" / "vgg19.npz")
    assert_trees_close(loaded, params)
    assert vgg19.widths_of(loaded) == (4, 4, 6, 6, *[8] * 9)


def test_vgg19_weights_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vgg19-dcbb9e9d.pth and run `python -m scam_jax"):
        vgg19.load(tmp_path / "vgg19.npz")


def test_vgg19_of_another_network(golden, tmp_path):
    params = convert.convert_vgg19(golden("losses").group("vgg/"))
    np.savez(tmp_path / "w.npz", **{"relu1_1/kernel": params["relu1_1"]["kernel"]})
    with pytest.raises(ValueError, match="relu1_2 is missing or unexpected"):
        vgg19.load(tmp_path / "w.npz")
    with pytest.raises(ValueError, match="0 convolutions up to"):
        convert.convert_vgg19({"classifier.weight": np.zeros((2, 2))})


def test_no_such_torch_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model.ckpt"):
        convert.read_torch(tmp_path / "model.ckpt")


def test_small_config_is_valid():
    from scam_jax.config import validate

    validate(small.config())
