"""Golden numbers of the authors' system, packed by tests/golden/pack.py."""

import functools
import json
import math
import pathlib

import numpy as np

from scam_jax.models.frozen import vgg19
from scam_jax.weights import convert

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "golden.npz"


@functools.cache
def _packed() -> tuple[dict, dict[str, np.ndarray]]:
    """The index, and the arrays that lie one behind the other, by type."""
    with np.load(_GOLDEN) as file:
        flat = {name: file[name] for name in file.files}
    return json.loads(flat.pop("index").tobytes()), flat


class Golden:
    """One golden file: its `meta`, its arrays by name, and groups of arrays by prefix."""

    def __init__(self, name: str):
        index, flat = _packed()
        self.meta = index[name]["meta"]
        self.arrays = {}
        for key, (dtype, start, *shape) in index[name]["arrays"].items():
            self.arrays[key] = flat[dtype][start : start + math.prod(shape)].reshape(shape)

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        return {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}

    def nhwc(self, key: str) -> np.ndarray:
        return self.arrays[key].transpose(0, 2, 3, 1)

    def labels(self, key: str = "in/label") -> np.ndarray:
        return self.arrays[key].astype(np.int32)


def vgg_of(g):
    """A narrow VGG19 in torchvision's names: the module and its variables."""
    params = convert.convert_frozen("vgg19", g.group("vgg/"))
    return vgg19.VGG19(vgg19.widths_of(params)), {"params": params}
