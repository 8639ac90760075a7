"""Weights of the authors' PyTorch system as ours: the only file that knows PyTorch's names.

`from_torch` takes NumPy arrays; PyTorch itself is imported only by the commands:

  python -m scam_jax.convert scam MODEL.ckpt --config=configs/celeba.py --workdir=runs/celeba
  python -m scam_jax.convert vgg19 vgg19-dcbb9e9d.pth weights/vgg19.npz
"""

import pathlib
import pickle
import re
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from scam_jax import models, run_folder, state
from scam_jax.checkpoints import Checkpoints
from scam_jax.config import validate
from scam_jax.models import vgg19
from scam_jax.state import TrainState

NETWORKS = ("encoder", "generator", "discriminator")

# Our path in the variables to the PyTorch module's name, applied in order to the whole path.
_NAMES = [
    # the encoder
    (r"^conv_(\d+)$", r"convs.\1.0"),
    (r"(cross|self)_attention_(\d+)", r"backbone.block_\2.\1_attention"),
    # the generator
    (r"label_map_encoder/shared", "segmap_encoder.shared_mlp.0"),
    (r"label_map_encoder/gamma", "segmap_encoder.gamma_mlp"),
    (r"label_map_encoder/beta", "segmap_encoder.mu_mlp"),
    (r"block_(\d+)_rgb_mod", r"backbone.SCAM_block_\1.torgb.mod_rgb"),
    (r"block_(\d+)_rgb_conv", r"backbone.SCAM_block_\1.torgb.conv_rgb"),
    (r"block_(\d+)_(conv_\d)", r"backbone.SCAM_block_\1.\2.1"),
    (r"block_(\d+)_(\w+)", r"backbone.SCAM_block_\1.\2"),
    (r"/gamma$", ".mlp_lti_gamma"),
    (r"/beta$", ".mlp_lti_beta"),
    (r"latent_mlp_1", "fc_itl.0"),
    (r"latent_mlp_2", "fc_itl.2"),
    # attention; the authors' layers of keys and values have each other's names
    (r"(^|/)query$", r"\1q_linear"),
    (r"(^|/)key$", r"\1v_linear"),
    (r"(^|/)value$", r"\1k_linear"),
    (r"(^|/)out$", r"\1out.0"),
    (r"norm_(\d)$", r"ln_\1"),
    (r"mlp_1$", "fc.0"),
    (r"mlp_2$", "fc.2"),
    # the discriminator
    (r"scale_(\d)/(conv_\d|last_conv)", r"discriminators.discriminator_\1.model.\2.0"),
    # VGG19, whose layers torchvision only numbers
    (r"^relu(\d)_(\d)$", lambda m: f"features.{_VGG19_INDEX[int(m[1]), int(m[2])]}"),
]
_FAULTS_NAMED = 20
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "noise_scale": "noise_var",
    "blend_gamma": "blending_gamma",
    "blend_beta": "blending_beta",
}
_VGG19_INDEX = dict(
    zip(
        [(b, i) for b, n in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, n + 1)],
        [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
        strict=True,
    )
)
# What PyTorch stores but only derives from the network's sizes.
_DERIVED = re.compile(r"(^|\.)(latents_mask|inv_freq|num_batches_tracked)$")


def torch_name(path: tuple[str, ...]) -> str:
    """PyTorch's name of our variable at `path` within a network (the collection left out)."""
    module = "/".join(path[:-1])
    for pattern, name in _NAMES:
        module = re.sub(pattern, name, module)
    return ".".join([*filter(None, module.split("/")), _LEAVES.get(path[-1], path[-1])])


def _entry(state_dict: Mapping[str, np.ndarray], path: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The entries of `state_dict`, by name, that make our variable at `path`."""
    if path[-1] in ("gaussian_kernel", "gaussian_bias"):
        kind = {"gaussian_kernel": "weight", "gaussian_bias": "bias"}[path[-1]]
        names = [n for n in state_dict if re.fullmatch(rf"vae_mapper\.\d+\.{kind}", n)]
        names = sorted(names, key=lambda n: int(n.split(".")[1]))
        return {n: state_dict[n] for n in names} or {f"vae_mapper.0.{kind}": None}
    name = torch_name(path)
    return {name: state_dict.get(name)}


def _ours(arrays: list[np.ndarray], leaf: str) -> np.ndarray:
    """PyTorch's layout to ours: OIHW to HWIO, `[out, in]` to `[in, out]`, linears stacked."""
    if leaf == "gaussian_kernel":
        return np.stack([a.T for a in arrays])
    if leaf == "gaussian_bias":
        return np.stack(arrays)
    (array,) = arrays
    if leaf == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return array


def from_torch(state_dict: Mapping[str, np.ndarray], variables: Any) -> Any:
    """PyTorch-named arrays as our variables of the same network.

    Args:
      state_dict: NumPy arrays under the names of the network's `state_dict()`.
      variables: the network's variables, or their shapes, `{collection: tree}`.

    Returns:
      A tree like `variables` with the arrays in our layouts, of the variables' types.

    Raises:
      ValueError: entries are missing, unexpected or of another shape; names the first of them.
    """
    faults, used = [], set()

    def take(keys, leaf):
        path = tuple(key.key for key in keys)[1:]
        entries = _entry(state_dict, path)
        used.update(entries)
        absent = [name for name, array in entries.items() if array is None]
        if absent:
            faults.append(f"missing: {absent[0]}, wanted as {'/'.join(path)} {leaf.shape}")
            return leaf
        array = _ours([np.asarray(a) for a in entries.values()], path[-1])
        if array.shape != tuple(leaf.shape):
            names = ", ".join(entries)
            faults.append(
                f"misshapen: {names} gives {array.shape}, the network's {'/'.join(path)} is "
                f"{tuple(leaf.shape)}"
            )
            return leaf
        return np.ascontiguousarray(array, dtype=leaf.dtype)

    result = jax.tree_util.tree_map_with_path(take, variables)
    unexpected = [n for n in state_dict if n not in used and not _DERIVED.search(n)]
    faults += [f"unexpected: {n} {np.shape(state_dict[n])}" for n in unexpected]
    if faults:
        raise ValueError(
            f"{len(faults)} entries do not fit this network (was it built with the same sizes "
            "and options?):\n  " + "\n  ".join(faults[:_FAULTS_NAMED])
        )
    return result


def split_networks(state_dict: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """A Lightning module's entries by network, their prefixes removed.

    Entries of other parts (perceptual loss, metrics) are left out, and logged.
    """
    networks = {name: {} for name in NETWORKS}
    others: dict[str, int] = {}
    for key, array in state_dict.items():
        part, _, rest = key.partition(".")
        if part in networks:
            networks[part][rest] = array
        else:
            others[part] = others.get(part, 0) + 1
    for part, count in others.items():
        logging.info("left out: %d entries of %s", count, part)
    return networks


def convert_scam(state_dict: Mapping[str, np.ndarray], config: ConfigDict) -> TrainState:
    """A state at step 0 with the weights of the authors' Lightning module.

    Raises:
      ValueError: the entries do not fit the networks of `config`; names them.
    """
    shapes = state.variable_shapes(config, models.build(config))
    entries = split_networks(state_dict)
    variables = {}
    for name in NETWORKS:
        try:
            variables[name] = from_torch(entries[name], shapes[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return state.from_variables(config, jax.tree.map(jnp.asarray, variables))


def convert_vgg19(state_dict: Mapping[str, np.ndarray]) -> dict:
    """torchvision's VGG19 entries as our parameters, of any widths.

    Raises:
      ValueError: the entries are not a VGG19's; names them.
    """
    features = vgg19.select_features(state_dict)
    weights = [a for name, a in features.items() if name.endswith("weight")]
    if len(weights) != len(vgg19.LAYERS):
        raise ValueError(
            f"{len(weights)} convolutions up to features.28, not {len(vgg19.LAYERS)}: this is not "
            "torchvision's vgg19"
        )
    module = vgg19.VGG19(tuple(array.shape[0] for array in weights))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return from_torch(features, shapes)["params"]


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch file, a Lightning checkpoint's `state_dict` if it has one.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: PyTorch is not installed.
      ValueError: the file holds more than tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        import torch
    except ImportError as error:
        raise ImportError("reading PyTorch's files needs PyTorch: `pip install torch`") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and loading it could run code of its maker's. If you "
            "trust it, save its weights alone: `torch.save({'state_dict': torch.load(PATH, "
            "weights_only=False)['state_dict']}, NEW_PATH)`"
        ) from error
    tensors = loaded.get("state_dict", loaded)
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}


def main(argv: list[str]) -> None:
    try:
        _convert(argv)
    except (ValueError, OSError, ImportError) as error:
        logging.error("%s", error)
        sys.exit(1)


def _convert(argv: list[str]) -> None:
    if len(argv) == 3 and argv[1] == "scam" and _CONFIG.value and _WORKDIR.value:
        config, workdir = _CONFIG.value, pathlib.Path(_WORKDIR.value)
        validate(config)
        converted = convert_scam(read_torch(pathlib.Path(argv[2])), config)
        run_folder.record(config, workdir, num_examples=None)
        checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS)
        checkpoints.save(converted)
        checkpoints.close()
        print(f"wrote {workdir}: use it with main.py --mode=transfer --workdir={workdir}")
    elif len(argv) == 4 and argv[1] == "vgg19":
        vgg19.save(pathlib.Path(argv[3]), convert_vgg19(read_torch(pathlib.Path(argv[2]))))
        print(f"wrote {argv[3]}")
    else:
        raise app.UsageError("see `python -m scam_jax.convert --help`")


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "The config of the trained model.")
    _WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder to write.")
    app.run(main)
