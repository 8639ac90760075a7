"""Weights of the frozen networks that losses and evaluation use: their sources and their files.

`python -m scam_jax.weights frozen` converts a PyTorch file to FOLDER/NAME.npz. This file holds
arrays under the names 'layer/leaf', and the SHA-256 of the PyTorch file.
"""

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from scam_jax.files import replaced
from scam_jax.models.frozen import inception, lpips, resnet, vgg19

_SHA256 = "sha256"


class Source(NamedTuple):
    """A PyTorch file of published weights.

    Attributes:
      file: published name of the file.
      where: where to download it.
      purpose: the loss or metric that needs it.
      sha256: the first hexadecimal digits of its SHA-256, or '' if none are published.
      without: how to train without it, or '' if there is no such advice.
    """

    file: str
    where: str
    purpose: str
    sha256: str
    without: str = ""


SOURCES = {
    "vgg19": Source(
        file="vgg19-dcbb9e9d.pth",
        where="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        purpose="the perceptual loss",
        sha256="dcbb9e9d",
        without="train without this loss: --config.losses.perceptual=0",
    ),
    "inception": Source(
        file="weights-inception-2015-12-05-6726825d.pth",
        where="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        purpose="FID",
        sha256="6726825d",
    ),
    "reid_resnet50": Source(
        file="lup_moco_r50.pth",
        where="https://github.com/DengpanFu/LUPerson (pre-trained models, ResNet50)",
        purpose="the similarity of persons (ReID)",
        sha256="",
    ),
    "alexnet": Source(
        file="alexnet-owt-7be5be79.pth",
        where="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        purpose="LPIPS",
        sha256="7be5be79",
    ),
    "lpips_alex": Source(
        file="alex.pth",
        where="the package lpips 0.1.4 (`pip download --no-deps lpips==0.1.4 && "
        "unzip -j lpips-0.1.4-*.whl lpips/weights/v0.1/alex.pth`)",
        purpose="LPIPS",
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
}


class Pretrained(NamedTuple):
    """Weights of a frozen network.

    Attributes:
      params: NumPy arrays for the Flax module: `module.apply({"params": params}, …)`.
      sha256: SHA-256 of the PyTorch file they were converted from, in hexadecimal.
    """

    params: dict
    sha256: str


def path_of(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns the file of the converted weights of network `name` in a folder."""
    return folder / f"{name}.npz"


def shapes(name: str, vgg19_widths: tuple[int, ...] = vgg19.WIDTHS) -> dict:
    """Returns the shapes of a frozen network's parameters.

    Args:
      name: name of the network, a key of `SOURCES`.
      vgg19_widths: widths of VGG19's layers; other networks ignore them.
    """
    modules: dict[str, tuple[nn.Module, object]] = {
        "vgg19": (vgg19.VGG19(vgg19_widths), _image(32, 32)),
        "inception": (inception.InceptionV3(), _image(32, 32)),
        "reid_resnet50": (resnet.ReIDResNet50(), _image(*resnet.CROP_SIZE)),
        "alexnet": (lpips.AlexNet(), _image(64, 64)),
        "lpips_alex": (lpips.ChannelWeights(), [jnp.zeros((1, 1, 1, w)) for w in lpips.WIDTHS]),
    }
    module, inputs = modules[name]
    return jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]


def _image(height: int, width: int) -> jax.Array:
    return jnp.zeros((1, height, width, 3))


def save(path: pathlib.Path, weights: Pretrained) -> None:
    """Writes weights to an .npz file and creates its folder if needed."""
    entries = {**flatten_dict(weights.params, sep="/"), _SHA256: weights.sha256}
    arrays: dict[str, Any] = {key: np.asarray(entry) for key, entry in entries.items()}
    with replaced(path) as stream:
        np.savez(stream, **arrays)


def load(name: str, folder: pathlib.Path) -> Pretrained:
    """Loads the converted weights of a frozen network.

    Args:
      name: name of the network, a key of `SOURCES`.
      folder: folder of the converted weights.

    Raises:
      FileNotFoundError: there is no such file; says what to download and how to convert it.
      ValueError: the file is damaged or holds another network; says what to do.
    """
    path, source = path_of(name, folder), SOURCES[name]
    command = f"python -m scam_jax.weights frozen {source.file} --output={path}"
    if not path.is_file():
        otherwise = f"; or {source.without}" if source.without else ""
        raise FileNotFoundError(
            f"{source.purpose} needs {path}, which is missing: download {source.file} from "
            f"{source.where}, then `{command}` (needs PyTorch){otherwise}"
        )
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); make it anew with `{command}`"
        ) from error
    sha256 = arrays.pop(_SHA256, None)
    fault = "it has no sha256" if sha256 is None else _first_fault(name, arrays)
    if fault:
        raise ValueError(
            f"{path} is not a converted {source.file}: {fault}; make it anew with `{command}`"
        )
    return Pretrained(unflatten_dict(arrays, sep="/"), str(sha256))


def _first_fault(name: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Describes the first array that is missing, unexpected or misshapen; '' if all are right."""
    expected = flatten_dict(shapes(name), sep="/")
    wrong = [*(expected.keys() - arrays.keys()), *(arrays.keys() - expected.keys())]
    if wrong:
        return f"{min(wrong)} is missing or unexpected"
    if name == "vgg19":
        widths = vgg19.widths_of(unflatten_dict(arrays, sep="/"))
        expected = flatten_dict(shapes(name, widths), sep="/")
    for key, array in arrays.items():
        if array.shape != expected[key].shape:
            return f"{key} has shape {array.shape}, not {expected[key].shape}"
    return ""
