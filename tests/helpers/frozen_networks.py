"""Makes tests/golden/frozen.npz: what the PyTorch packages' own frozen networks give.

  python tests/helpers/frozen_networks.py

It was run with torch 2.14.1, torchvision 0.29.1, torch-fidelity 0.3.0, clean-fid 0.1.35, lpips
0.1.4 and fastreid 1.4.0, in fp32 on a CPU. Weights and images are not stored but drawn by the rules
below, here and in the tests; `meta` has the names and shapes of the entries of each network's file.
"""

import json
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from unittest import mock

import numpy as np

FILE = pathlib.Path(__file__).parents[1] / "golden" / "frozen.npz"
# Of the resized images and the crops, one row and one column in so many are stored.
STEP = 13


def entry(name: str, shape: Sequence[int]) -> np.ndarray:
    """The weights under `name`, such that signals neither die nor explode."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.float32)
    r = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.startswith("lin"):
        r = np.abs(r)  # weights of squares
    if len(shape) > 1:
        r = r * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        r = 1 + 0.1 * np.abs(r)
    else:
        r = 0.1 * r + name.endswith("weight")
    return r.astype(np.float32)


def weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    return {name: entry(name, shape) for name, shape in shapes.items()}


def images(name: str, height: int, width: int) -> np.ndarray:
    """Two random images `[2, height, width, 3]`, uint8."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return random.randint(0, 256, (2, height, width, 3)).astype(np.uint8)


def persons() -> tuple[np.ndarray, np.ndarray]:
    """Two images and their labels: one person in a box, and none."""
    labels = np.zeros((2, 64, 48), np.uint8)
    labels[0, 5, 7:20] = 1
    labels[0, 30:51, 12:31] = 2
    return images("persons", 64, 48), labels


def features() -> np.ndarray:
    """Two sets of features, `[2, 40, 24]`."""
    random = np.random.RandomState(zlib.crc32(b"features"))
    return random.standard_normal((2, 40, 24)) + np.array([0, 0.3])[:, None, None]


BOXES = ((slice(5, 51), slice(7, 31)), (slice(0, 64), slice(0, 48)))


# What follows needs PyTorch, which the tests do without.


def _filled(module) -> dict[str, list[int]]:
    import torch

    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    module.load_state_dict({n: torch.tensor(a) for n, a in weights(shapes).items()})
    module.eval()
    return shapes


def _tensor(pictures: np.ndarray):
    import torch

    return torch.tensor(pictures.transpose(0, 3, 1, 2))


def _inception(arrays: dict) -> dict[str, list[int]]:
    import torch
    from torch_fidelity import feature_extractor_inceptionv3 as package

    with (
        mock.patch.object(package, "load_state_dict_from_url"),
        mock.patch.object(torch.nn.Module, "load_state_dict"),
    ):
        network = package.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    shapes = _filled(network)
    pictures = _tensor(images("inception", 40, 56))
    arrays["inception/features"] = network(pictures)[0].numpy()
    resized = package.interpolate_bilinear_2d_like_tensorflow1x(
        pictures.float(), size=(299, 299), align_corners=False
    )
    arrays["inception/resized"] = resized.permute(0, 2, 3, 1)[:, ::STEP, ::STEP].numpy()
    return shapes


def _distances(arrays: dict) -> None:
    import torch
    from cleanfid.resize import build_resizer
    from torch_fidelity.metric_kid import kid_features_to_metric

    resizer = build_resizer("clean")
    resized = np.stack([resizer(image) for image in images("inception", 400, 56)])
    arrays["inception/resized_antialiased"] = resized[:, ::STEP, ::STEP]
    # One subset, of all features.
    options = dict(kid_subsets=1, kid_subset_size=40, verbose=False)
    found = kid_features_to_metric(*map(torch.tensor, features()), **options)
    arrays["kid"] = np.array(found["kernel_inception_distance_mean"])


def _reid(arrays: dict) -> dict[str, list[int]]:
    import torch
    from fastreid.modeling.backbones.resnet import Bottleneck, ResNet

    network = ResNet(1, "BN", False, False, False, Bottleneck, [3, 4, 6, 3], [0, 0, 0, 0])
    # The pool of LUPerson and of the authors' copy; fastreid 1.4.0 moved it by a pixel.
    network.maxpool = torch.nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    shapes = _filled(network)
    pictures = _tensor(persons()[0]).float()
    crops = torch.cat(
        [
            torch.nn.functional.interpolate(
                picture[None, :, rows, columns], size=(256, 128), mode="bilinear"
            )
            for picture, (rows, columns) in zip(pictures, BOXES, strict=True)
        ]
    )
    mean = torch.tensor([89.896, 79.200, 80.073])[:, None, None]
    deviation = torch.tensor([63.872, 64.305, 63.839])[:, None, None]
    arrays["reid/features"] = network((crops - mean) / deviation).mean((2, 3)).numpy()
    arrays["reid/crops"] = crops.permute(0, 2, 3, 1)[:, ::STEP, ::STEP].numpy()
    return shapes


def _lpips(arrays: dict) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    import lpips
    import torch
    import torchvision

    alexnet = torchvision.models.alexnet().features.state_dict()
    alexnet = {f"features.{name}": list(tensor.shape) for name, tensor in alexnet.items()}
    network = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    linear = {n: list(t.shape) for n, t in network.state_dict().items() if n.startswith("lin")}
    linear = {name: shape for name, shape in linear.items() if not name.startswith("lins")}
    state = {**weights(alexnet), **weights(linear)}
    for name in network.net.state_dict():
        state[f"net.{name}"] = state.pop(f"features.{name.partition('.')[2]}")
    unused = network.load_state_dict({n: torch.tensor(a) for n, a in state.items()}, strict=False)
    assert not unused.unexpected_keys
    a, b = (_tensor(images(f"lpips {x}", 64, 64)) / 127.5 - 1 for x in "ab")
    b = torch.stack([b[0], 0.9 * a[1] + 0.1 * b[1]])
    arrays["lpips/distances"] = network(a, b).flatten().numpy()
    return alexnet, linear


def main() -> None:
    import torch

    arrays = {}
    with torch.no_grad():
        _distances(arrays)
        meta = {"inception": _inception(arrays), "reid_resnet50": _reid(arrays)}
        meta["alexnet"], meta["lpips_alex"] = _lpips(arrays)
    np.savez_compressed(FILE, meta=json.dumps(meta), **arrays)
    for name, array in arrays.items():
        print(name, array.shape, np.abs(array).mean(), np.abs(array).max())


if __name__ == "__main__":
    main()
