"""Converts PyTorch's weights: checkpoints of the authors' system, and the frozen networks.

`from_torch` takes NumPy arrays. PyTorch itself is needed only to read a file, by `read_torch`.
"""

import hashlib
import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.runs import run_folder
from scam_jax.runs.validation import validate
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.state import TrainState
from scam_jax.weights import pretrained, torch_names
from scam_jax.weights.pretrained import SOURCES, Pretrained
from scam_jax.weights.torch_names import Names, torch_name

NETWORKS = ("encoder", "generator", "discriminator")

_FAULTS_NAMED = 20


def _entries(
    state_dict: Mapping[str, np.ndarray], path: tuple[str, ...], names: Names, leaf: Any
) -> dict[str, np.ndarray | None]:
    """The entries of `state_dict`, by name, that make our variable at `path`; None if absent."""
    name = torch_name(path, names)
    if "{i}" in name:
        stack = [name.format(i=i) for i in range(leaf.shape[0])]
        return {name: state_dict.get(name) for name in stack}
    if f"{name}_orig" in state_dict:
        name = f"{name}_orig"
    return {name: state_dict.get(name)}


def _ours(array: np.ndarray, name: str, leaf: Any) -> np.ndarray:
    """PyTorch's layout of what we call `name` to ours: OIHW to HWIO, `[out, in]` to `[in, out]`."""
    if name == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if name == "v" and array.size == np.prod(leaf.shape):
        # of the kernel laid flat as IHW
        return array.reshape(leaf.shape[2], *leaf.shape[:2]).transpose(1, 2, 0)
    return array


def from_torch(state_dict: Mapping[str, np.ndarray], variables: Any, names: Names) -> Any:
    """PyTorch-named arrays as our variables of the same network.

    Args:
      state_dict: NumPy arrays under the names of the network's `state_dict()`.
      variables: the network's variables, or their shapes, `{collection: tree}`.
      names: what its entries are called.

    Returns:
      A tree like `variables` with the arrays in our layouts, of the variables' types.

    Raises:
      ValueError: entries are missing, unexpected or of another shape; names the first of them.
    """
    faults, used = [], set()

    def take(keys, leaf):
        path = tuple(key.key for key in keys)[1:]
        entries = _entries(state_dict, path, names, leaf)
        used.update(entries)
        absent = [name for name, array in entries.items() if array is None]
        if absent:
            faults.append(f"missing: {absent[0]}, wanted as {'/'.join(path)} {leaf.shape}")
            return leaf
        arrays = [_ours(np.asarray(a), path[-1], leaf) for a in entries.values()]
        array = np.stack(arrays) if "{i}" in torch_name(path, names) else arrays[0]
        if array.shape != tuple(leaf.shape):
            faults.append(
                f"misshapen: {', '.join(entries)} gives {array.shape}, the network's "
                f"{'/'.join(path)} is {tuple(leaf.shape)}"
            )
            return leaf
        return np.ascontiguousarray(array, dtype=leaf.dtype)

    result = jax.tree_util.tree_map_with_path(take, variables)
    unexpected = [n for n in state_dict if n not in used and not re.search(names.left_out, n)]
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


def convert_checkpoint(state_dict: Mapping[str, np.ndarray], config: ConfigDict) -> TrainState:
    """A state at step 0 with the weights of the authors' Lightning module.

    Raises:
      ValueError: the entries do not fit the networks of `config`; names them.
    """
    shapes = state.variable_shapes(config, models.build(config))
    entries, names = split_networks(state_dict), torch_names.of_config(config)
    variables = {}
    for name in NETWORKS:
        try:
            variables[name] = from_torch(entries[name], shapes[name], names[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return state.from_variables(config, jax.tree.map(jnp.asarray, variables))


def convert_frozen(name: str, state_dict: Mapping[str, np.ndarray]) -> dict:
    """The entries of a frozen network's file as our parameters; VGG19's may have any widths.

    Args:
      name: of the network, one of `pretrained.SOURCES`.
      state_dict: NumPy arrays under the names of its PyTorch file.

    Raises:
      ValueError: the entries are not this network's; names them.
    """
    shapes = pretrained.shapes(name)
    if name == "vgg19":
        kernels = [state_dict.get(key) for key in torch_names.vgg19_kernels()]
        if all(kernel is not None for kernel in kernels):
            shapes = pretrained.shapes(name, tuple(kernel.shape[0] for kernel in kernels))
    return from_torch(state_dict, {"params": shapes}, torch_names.FROZEN[name])["params"]


def name_of(path: pathlib.Path) -> str:
    """Which frozen network's weights a PyTorch file has, by its own name.

    Raises:
      ValueError: it is none of the known ones; lists those and where they are to be had.
    """
    names = [name for name, source in SOURCES.items() if source.file == path.name]
    if not names:
        known = "\n  ".join(f"{source.file}: {source.where}" for source in SOURCES.values())
        raise ValueError(f"{path}: weights are known by the name of their file, one of\n  {known}")
    return names[0]


def check_sha256(name: str, path: pathlib.Path) -> str:
    """The SHA-256 of a frozen network's PyTorch file, in hexadecimal.

    Raises:
      FileNotFoundError: there is no such file; says where to download it.
      ValueError: it is not the published file's.
    """
    source = SOURCES[name]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; download it from {source.where}")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not sha256.startswith(source.sha256):
        raise ValueError(
            f"{path}: its SHA-256 should begin with {source.sha256}, and is {sha256}: the file is "
            f"damaged or another. Download it anew from {source.where}"
        )
    return sha256


def convert_frozen_file(path: pathlib.Path, output: pathlib.Path | None = None) -> pathlib.Path:
    """Converts the PyTorch file of a frozen network, and says so; returns the file written.

    Args:
      path: one of the files of `pretrained.SOURCES`.
      output: a file NAME.npz; weights/NAME.npz by default.

    Raises:
      FileNotFoundError, ImportError: there is no such file, or no PyTorch.
      ValueError: the file is not the published one, or its entries are not the network's.
    """
    name = name_of(path)
    output = output or pretrained.path_of(name, pathlib.Path("weights"))
    if output != pretrained.path_of(name, output.parent):
        raise ValueError(f"--output={output}: the file must be called {name}.npz to be found")
    sha256 = check_sha256(name, path)
    if not SOURCES[name].sha256:
        print(f"no SHA-256 of {path.name} is published to compare with; this file's is {sha256}")
    try:
        params = convert_frozen(name, read_torch(path))
    except ValueError as error:
        where = SOURCES[name].where
        raise ValueError(f"{error}\nDownload {path} anew from {where}") from error
    pretrained.save(output, Pretrained(params, sha256))
    return output


def convert_checkpoint_file(path: pathlib.Path, config: ConfigDict, workdir: pathlib.Path) -> None:
    """Converts a Lightning checkpoint of the authors' system to a run in `workdir`.

    Raises:
      FileNotFoundError, ImportError: there is no such file, or no PyTorch.
      ValueError: the config is impossible, or the entries do not fit its networks.
    """
    validate(config)
    converted = convert_checkpoint(read_torch(path), config)
    run_folder.record(config, workdir, num_examples=None)
    checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS)
    checkpoints.save(converted)
    checkpoints.close()


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch file, a Lightning checkpoint's `state_dict` if it has one.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: PyTorch is not installed.
      ValueError: the file is damaged, or holds more than tensors.
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
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a whole PyTorch file ({error})") from error
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {"it": loaded}
    others = [name for name, tensor in tensors.items() if not isinstance(tensor, torch.Tensor)]
    if others:
        raise ValueError(f"{path} has no tensors by name, or more than those: {others[0]}")
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}
