"""Reading PyTorch's weights: faults are named, whole checkpoints arrive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import by_rule, saved, small

from scam_jax import models
from scam_jax.inference import label_orders
from scam_jax.inference.model import TrainedModel
from scam_jax.models.layers.label_maps import LabelLinear
from scam_jax.models.layers.primitives import Conv, Linear
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.weights import convert, torch_names
from scam_jax.weights.torch_names import ENCODERS


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
    state = convert.convert_checkpoint(lightning_checkpoint(golden), small.of_golden_steps())
    latents = golden("train_steps")["init/encoder/latents"]
    np.testing.assert_array_equal(state.params["encoder"]["latents"], latents)
    assert state.step == 0


def test_checkpoint_of_another_size_is_refused(golden):
    config = small.of_golden_steps()
    config.model.latent_dim = 32
    with pytest.raises(ValueError, match=r"(?s)encoder: \d+ entries .*misshapen: backbone"):
        convert.convert_checkpoint(lightning_checkpoint(golden), config)


def test_a_checkpoint_becomes_a_run(golden, tmp_path, monkeypatch):
    tensors = lightning_checkpoint(golden)
    monkeypatch.setattr(convert, "read_torch", lambda path: tensors)
    config = small.of_golden_steps()
    config.data.name = "folder"
    config.data.label_map = label_orders.BODY_FACE_BACKGROUND
    convert.convert_checkpoint_file(tmp_path / "model.ckpt", config, tmp_path)
    latents = golden("train_steps")["init/encoder/latents"]
    model = TrainedModel.load(tmp_path)
    assert model.label_names == ("background", "face", "body")
    np.testing.assert_array_equal(model.variables["encoder"]["params"]["latents"], latents)
    made_with = Checkpoints(tmp_path / run_folder.CHECKPOINTS).made_with(model.step)
    assert made_with == state.made_with(small.of_golden_steps()), "it goes on with other settings"


def test_a_run_is_not_replaced_by_a_checkpoint(tmp_path):
    saved.save(tmp_path / run_folder.CHECKPOINTS, 1000, 2000)
    with pytest.raises(ValueError, match=r"--workdir=.* holds a run or a release: give another"):
        convert.convert_checkpoint_file(tmp_path / "model.ckpt", small.config(), tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == [run_folder.CHECKPOINTS]


def test_a_release_is_not_replaced_by_a_checkpoint(tmp_path):
    config = tmp_path / run_folder.CONFIG_FILE
    config.write_text('{"release": {"step": 3}}')
    with pytest.raises(ValueError, match=r"--workdir=.* holds a run or a release: give another"):
        convert.convert_checkpoint_file(tmp_path / "model.ckpt", small.config(), tmp_path)
    assert config.read_text() == '{"release": {"step": 3}}'


def test_no_such_torch_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model.ckpt"):
        convert.read_torch(tmp_path / "model.ckpt")


def test_a_page_in_place_of_a_torch_file(tmp_path):
    (tmp_path / "model.pth").write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    with pytest.raises(ValueError, match=r"model.pth is not a PyTorch file: .*<!DOCTYPE html>"):
        convert.read_torch(tmp_path / "model.pth")


def test_small_config_is_valid():
    from scam_jax.runs.validation import validate

    validate(small.config())


def baseline_checkpoint(config) -> dict:
    """All networks' entries as the authors' Lightning module has them, numbers by rule."""
    shapes, names = (
        state.variable_shapes(config, models.build(config)),
        torch_names.of_config(config),
    )
    tensors = {}
    for network, tree in shapes.items():
        entries = by_rule.state_dict(tree, names[network])
        for collection in ("spectral", "batch_stats"):
            leaves = jax.tree_util.tree_leaves_with_path(tree.get(collection, {}))
            for keys, leaf in leaves:
                name = torch_names.torch_name([key.key for key in keys], names[network])
                # PyTorch lays the kernel that v is of out flat
                shape = (int(np.prod(leaf.shape)),)
                entries[name] = by_rule.drawn(name, shape)
        tensors |= {f"{network}.{name}": array for name, array in entries.items()}
    return tensors


@pytest.mark.parametrize("family", [name for name in models.FAMILIES if name != "scam"])
def test_checkpoint_of_a_baseline(family):
    """Stacked layers, kernels with spectral norm and their vectors, statistics, tables."""
    config = small.config(f"model={family}")
    tensors = baseline_checkpoint(config)
    converted = convert.convert_checkpoint(tensors, config)
    conv = "discriminator.discriminators.discriminator_0.model.conv_1.0"
    path = converted.params["discriminator"]["scale_0"]["conv_1"]
    weight = tensors[f"{conv}.weight_orig"]
    np.testing.assert_array_equal(path["kernel"], weight.transpose(2, 3, 1, 0))
    vectors = converted.extra["discriminator"]["spectral"]["scale_0"]["conv_1"]
    np.testing.assert_array_equal(vectors["u"], tensors[f"{conv}.weight_u"])
    # σ is what PyTorch has: uᵀWv of the kernel laid flat
    u, v = tensors[f"{conv}.weight_u"], tensors[f"{conv}.weight_v"]
    ours = np.sum(path["kernel"] * vectors["v"][..., None] * vectors["u"])
    np.testing.assert_allclose(ours, u @ weight.reshape(len(u), -1) @ v, rtol=1e-4)
    if family == "sean":
        stack = converted.params["generator"]["block_0_mod_0"]["code_projection"]["kernel"]
        name = "generator.backbone.SEAN_block_0.sean_block.mod_0.st_proj.style_code_2_proj.0.weight"
        np.testing.assert_array_equal(stack[2], tensors[name].T)
    del tensors[f"{conv}.weight_u"]
    with pytest.raises(ValueError, match=r"(?s)discriminator: .*missing: .*conv_1\.0\.weight_u"):
        convert.convert_checkpoint(tensors, config)


def test_a_stack_of_one():
    """Of a model with one label: a stack still."""
    shapes = jax.eval_shape(LabelLinear(3).init, jax.random.key(0), jnp.zeros((1, 1, 2)))
    names = torch_names.Names([(r"^$", "layer.{i}")])
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    given = {"layer.0.weight": weight, "layer.0.bias": np.ones(3, np.float32)}
    params = convert.from_torch(given, shapes, names)["params"]
    np.testing.assert_array_equal(params["kernel"], weight.T[None])
    assert params["bias"].shape == (1, 3)
