"""VGG19 up to relu5_1, frozen, for the perceptual loss. Layer widths come from the weights."""

import pathlib
import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.primitives import Array, Conv, LayerSpec

# Convolutions of each block, up to and including the first of the fifth.
_BLOCKS = (2, 2, 4, 4, 1)
LAYERS = tuple(f"relu{b}_{i}" for b, n in enumerate(_BLOCKS, 1) for i in range(1, n + 1))
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512)


class VGG19(nn.Module):
    """Image `[B, H, W, 3]` to the activations after relu1_1, 2_1, 3_1, 4_1 and 5_1.

    The image goes in as it is, in [-1, 1] (the authors' perceptual loss does not rescale).
    """

    widths: tuple[int, ...] = WIDTHS
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        activations = []
        for name, width in zip(LAYERS, self.widths, strict=True):
            if name.endswith("_1") and name != "relu1_1":
                x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.relu(Conv(width, layer=self.layer, name=name)(x))
            if name.endswith("_1"):
                activations.append(x)
        return activations


def widths_of(params: Mapping) -> tuple[int, ...]:
    """Layer widths of a tree of parameters."""
    return tuple(params[name]["kernel"].shape[-1] for name in LAYERS)


def save(path: pathlib.Path, params: Mapping) -> None:
    """Writes parameters as an .npz file of `LAYER/kernel` and `LAYER/bias` arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{f"{n}/{k}": np.asarray(params[n][k]) for n in LAYERS for k in params[n]})


def load(path: pathlib.Path) -> dict:
    """The parameters in an .npz file that `save` wrote.

    Raises:
      FileNotFoundError: there is no such file; says what to download and how to convert it.
      ValueError: the file's arrays are not a VGG19's.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"the perceptual loss needs VGG19's weights at {path}, and there is no such file. "
            "Download https://download.pytorch.org/models/vgg19-dcbb9e9d.pth and run "
            f"`python -m scam_jax.convert vgg19 vgg19-dcbb9e9d.pth {path}` (needs PyTorch, once); "
            "or train without this loss: --config.losses.perceptual.start=0 "
            "--config.losses.perceptual.end=0"
        )
    with np.load(path) as arrays:
        params = {}
        for name in arrays.files:
            layer, _, leaf = name.partition("/")
            params.setdefault(layer, {})[leaf] = arrays[name]
    _check(path, params)
    return params


def _check(path: pathlib.Path, params: dict) -> None:
    wrong = [n for n in params if n not in LAYERS] + [n for n in LAYERS if n not in params]
    if wrong:
        raise ValueError(
            f"{path} is not a converted VGG19: layer {wrong[0]} is missing or unexpected; make the "
            "file anew with `python -m scam_jax.convert vgg19`"
        )
    shapes = jax.eval_shape(
        VGG19(widths_of(params)).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )["params"]
    for name in LAYERS:
        for leaf, expected in shapes[name].items():
            if params[name][leaf].shape != expected.shape:
                raise ValueError(
                    f"{path}: {name}/{leaf} has shape {params[name][leaf].shape}, not "
                    f"{expected.shape}; make the file anew with `python -m scam_jax.convert vgg19`"
                )


def select_features(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of torchvision's entries, those of the layers up to relu5_1 (features.0 … features.28)."""
    kept = {}
    for name, array in state_dict.items():
        match = re.fullmatch(r"features\.(\d+)\.(weight|bias)", name)
        if match and int(match[1]) <= 28:
            kept[name] = array
    return kept
