"""Converts PyTorch weights: checkpoints of the authors' system, and the frozen networks.

`from_torch` takes NumPy arrays. Only `read_torch`, which reads a file, needs PyTorch.
"""

import hashlib
import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.inference import label_orders
from scam_jax.inference.label_map import LabelMap
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
# A ZIP archive, and a pickle, as torch.save writes now and wrote before.
_STARTS = (b"PK\x03\x04", b"\x80")
_LONGEST_START = 16


def _entries(
    state_dict: Mapping[str, np.ndarray], path: tuple[str, ...], names: Names, leaf: Any
) -> dict[str, np.ndarray | None]:
    """Returns the entries that form our variable at `path`, by name; None for an absent one."""
    name = torch_name(path, names)
    if "{i}" in name:
        stack = [name.format(i=i) for i in range(leaf.shape[0])]
        return {name: state_dict.get(name) for name in stack}
    if f"{name}_orig" in state_dict:
        name = f"{name}_orig"
    return {name: state_dict.get(name)}


def _ours(array: np.ndarray, name: str, leaf: Any) -> np.ndarray:
    """Converts an array from PyTorch's layout to ours: OIHW to HWIO, `[out, in]` to `[in, out]`."""
    if name == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if name == "v" and array.size == np.prod(leaf.shape):
        # The vector belongs to the kernel flattened in the order IHW.
        return array.reshape(leaf.shape[2], *leaf.shape[:2]).transpose(1, 2, 0)
    return array


def from_torch(state_dict: Mapping[str, np.ndarray], variables: Any, names: Names) -> Any:
    """Converts the entries of a PyTorch network to variables of our network.

    Args:
      state_dict: NumPy arrays, named as in the PyTorch network's `state_dict()`.
      variables: variables of our network, or their shapes, `{collection: tree}`.
      names: PyTorch's names of the entries.

    Returns:
      A tree like `variables` with the converted arrays, in the types of `variables`.

    Raises:
      ValueError: entries are missing, unexpected or of a wrong shape; names up to 20 of them.
    """
    faults: list[str] = []
    used: set[str] = set()

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
    """Splits the entries of a Lightning module by network.

    Entries of other parts (perceptual loss, metrics) are left out, and their number is logged.

    Args:
      state_dict: arrays by name, with the network as prefix.

    Returns:
      Arrays keyed by network and then by name without the prefix.
    """
    networks: dict[str, dict[str, np.ndarray]] = {name: {} for name in NETWORKS}
    others: dict[str, int] = {}
    for key, array in state_dict.items():
        part, _, rest = key.partition(".")
        if part in networks:
            networks[part][rest] = array
        else:
            others[part] = others.get(part, 0) + 1
    for part, count in others.items():
        logging.info("left out %d entries of %s", count, part)
    return networks


def convert_checkpoint(state_dict: Mapping[str, np.ndarray], config: ConfigDict) -> TrainState:
    """Converts the entries of the authors' Lightning module to a state at step 0.

    Args:
      state_dict: arrays by name, see `split_networks`.
      config: the whole config of the model.

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
    return state.from_variables(config, jax.device_put(variables))


def convert_frozen(name: str, state_dict: Mapping[str, np.ndarray]) -> dict:
    """Converts the entries of a frozen network's file to our parameters.

    Args:
      name: name of the network, a key of `pretrained.SOURCES`. VGG19 may have any widths.
      state_dict: NumPy arrays, named as in the PyTorch file.

    Returns:
      The parameters.

    Raises:
      ValueError: the entries are not those of this network; names them.
    """
    shapes = pretrained.shapes(name)
    if name == "vgg19":
        kernels = torch_names.vgg19_kernels()
        if state_dict.keys() >= {*kernels}:
            shapes = pretrained.shapes(name, tuple(state_dict[key].shape[0] for key in kernels))
    return from_torch(state_dict, {"params": shapes}, torch_names.FROZEN[name])["params"]


def name_of(path: pathlib.Path) -> str:
    """Returns the name of the frozen network whose weights a PyTorch file holds.

    Args:
      path: the file, under its published name.

    Raises:
      ValueError: the name is unknown; lists the known files and where to download them.
    """
    names = [name for name, source in SOURCES.items() if source.file == path.name]
    if not names:
        known = "\n  ".join(f"{source.file}: {source.where}" for source in SOURCES.values())
        raise ValueError(f"{path}: weights are recognized by their file name, one of\n  {known}")
    return names[0]


def check_sha256(name: str, path: pathlib.Path) -> str:
    """Returns the SHA-256 of a frozen network's PyTorch file, in hexadecimal.

    Args:
      name: name of the network, a key of `pretrained.SOURCES`.
      path: the file.

    Raises:
      FileNotFoundError: there is no such file; says where to download it.
      ValueError: the SHA-256 is not that of the published file.
    """
    source = SOURCES[name]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; download it from {source.where}")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not sha256.startswith(source.sha256):
        raise ValueError(
            f"{path}: its SHA-256 should begin with {source.sha256}, and is {sha256}: the file is "
            f"damaged or a different one. Download it anew from {source.where}"
        )
    return sha256


def convert_frozen_file(path: pathlib.Path, output: pathlib.Path | None = None) -> pathlib.Path:
    """Converts the PyTorch file of a frozen network.

    Args:
      path: one of the files of `pretrained.SOURCES`.
      output: the file to write, called NAME.npz; by default weights/NAME.npz.

    Returns:
      The file that was written.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: PyTorch is not installed.
      ValueError: the file is not the published one, or its entries are not those of the network.
    """
    name = name_of(path)
    output = output or pretrained.path_of(name, pathlib.Path("weights"))
    if output != pretrained.path_of(name, output.parent):
        raise ValueError(f"--output={output}: the file must be called {name}.npz to be found")
    sha256 = check_sha256(name, path)
    if not SOURCES[name].sha256:
        print(f"{path.name} has no published SHA-256 to compare with; this file has {sha256}")
    try:
        params = convert_frozen(name, read_torch(path))
    except ValueError as error:
        where = SOURCES[name].where
        raise ValueError(f"{error}\nDownload {path} anew from {where}") from error
    pretrained.save(output, Pretrained(params, sha256))
    return output


def convert_checkpoint_file(path: pathlib.Path, config: ConfigDict, workdir: epath.Path) -> None:
    """Converts a Lightning checkpoint of the authors' system to a run.

    Args:
      path: the checkpoint.
      config: the whole config of the checkpoint's model.
      workdir: folder of the run to write.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: PyTorch is not installed.
      ValueError: the config is impossible, the entries do not fit its networks, or there is a run
        already.
    """
    validate(config)
    if run_folder.is_begun(workdir) or run_folder.is_released(workdir):
        raise ValueError(f"--workdir={workdir} holds a run or a release: give another folder")
    converted = convert_checkpoint(read_torch(path), config)
    parts = label_orders.parts_of(config.data.name, LabelMap.of(config.data))
    names = label_orders.joined(parts)
    run_folder.record(config, workdir, label_names=names)
    made_with = state.made_with(config)
    checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS, made_with=made_with)
    checkpoints.save(converted)
    checkpoints.close()


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch file, or of the `state_dict` in a Lightning checkpoint.

    Args:
      path: the file.

    Returns:
      float32 arrays by name.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: PyTorch is not installed.
      ValueError: the file is damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        start = file.read(_LONGEST_START)
    if not start.startswith(_STARTS):
        raise ValueError(
            f"{path} is not a PyTorch file: it begins with {start!r}. A page in place of the file, "
            "perhaps: look at it, and download the file again"
        )
    try:
        import torch
    except ImportError as error:
        raise ImportError("reading PyTorch's files needs PyTorch: `pip install torch`") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and loading it could run any code. If you trust "
            "it, save only its weights: `torch.save({'state_dict': torch.load(PATH, "
            "weights_only=False)['state_dict']}, NEW_PATH)`"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a complete PyTorch file ({error})") from error
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {"it": loaded}
    others = [name for name, tensor in tensors.items() if not isinstance(tensor, torch.Tensor)]
    if others:
        raise ValueError(f"{path} does not hold named tensors only: {others[0]} is no tensor")
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}
