"""Files of frozen networks' weights: they survive, and each wrong one is refused by name."""

import hashlib

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from helpers import frozen_networks as rules
from helpers.closeness import assert_trees_close

from scam_jax.models.frozen import vgg19
from scam_jax.weights import convert, pretrained

LINEAR = {f"lin{i}.model.1.weight": (1, w, 1, 1) for i, w in enumerate((64, 192, 384, 256, 256))}


def linear_weights() -> pretrained.Pretrained:
    return pretrained.Pretrained(convert.convert_frozen("lpips_alex", rules.weights(LINEAR)), "ab")


def test_a_file_survives(tmp_path):
    weights = linear_weights()
    pretrained.save(tmp_path / "new" / "lpips_alex.npz", weights)
    loaded = pretrained.load("lpips_alex", tmp_path / "new")
    assert_trees_close(loaded.params, weights.params)
    assert loaded.params["layer_2"]["kernel"].shape == (1, 1, 192, 1)
    assert loaded.sha256 == "ab"


def test_vgg19_of_any_widths_survives(golden, tmp_path):
    entries = golden("losses").group("vgg/")
    params = convert.convert_frozen("vgg19", entries)
    pretrained.save(tmp_path / "vgg19.npz", pretrained.Pretrained(params, "ab"))
    loaded = pretrained.load("vgg19", tmp_path).params
    assert_trees_close(loaded, params)
    assert vgg19.widths_of(loaded) == (4, 4, 6, 6, *[8] * 9)


@pytest.mark.parametrize("name", pretrained.SOURCES)
def test_a_missing_file_says_how_to_make_it(tmp_path, name):
    source = pretrained.SOURCES[name]
    with pytest.raises(FileNotFoundError) as error:
        pretrained.load(name, tmp_path)
    message = str(error.value)
    assert message.startswith(f"{source.purpose} needs {tmp_path}/{name}.npz, which is missing")
    assert "\n" not in message
    assert f"download {source.file} from {source.where}" in message
    command = f"python -m scam_jax.weights frozen {source.file} --output={tmp_path}/{name}.npz"
    assert command in message
    assert ("losses.perceptual=0" in message) == (name == "vgg19")


def test_wrong_arrays_are_refused(tmp_path):
    path = tmp_path / "lpips_alex.npz"
    arrays = flatten_dict(linear_weights().params, sep="/")
    cases = {
        "layer_1/kernel has shape (2, 64), not (1, 1, 64, 1)": {
            **arrays,
            "layer_1/kernel": np.zeros((2, 64)),
            "sha256": "ab",
        },
        "layer_6/kernel is missing or unexpected": {
            **arrays,
            "layer_6/kernel": np.zeros(1),
            "sha256": "ab",
        },
        "layer_1/kernel is missing or unexpected": {"sha256": "ab"},
        "it has no sha256": arrays,
    }
    for fault, wrong in cases.items():
        np.savez(path, **wrong)
        with pytest.raises(ValueError, match=r"make it anew with `python -m") as error:
            pretrained.load("lpips_alex", tmp_path)
        assert f"{path} is not a converted alex.pth: {fault}" in str(error.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "lpips_alex.npz"
    pretrained.save(path, linear_weights())
    for size in (0, 100, path.stat().st_size // 2):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ValueError, match=r"lpips_alex.npz cannot be read .*make it anew with"):
            pretrained.load("lpips_alex", tmp_path)
        pretrained.save(path, linear_weights())


def test_another_networks_entries_are_refused():
    with pytest.raises(ValueError, match=r"(?s)missing: lin0.model.1.weight.*unexpected: lin\.w"):
        convert.convert_frozen("lpips_alex", {"lin.w": np.zeros(2)})
    with pytest.raises(ValueError, match=r"missing: features\.0\.(weight|bias)"):
        convert.convert_frozen("vgg19", rules.weights(LINEAR))


def test_classifiers_are_left_out(golden):
    entries = golden("losses").group("vgg/")
    unused = {name: np.zeros(1) for name in ("features.30.weight", "classifier.6.bias")}
    params = convert.convert_frozen("vgg19", {**entries, **unused})
    assert_trees_close(params, convert.convert_frozen("vgg19", entries))


def test_a_file_of_another_sha256_is_refused(tmp_path):
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    path.write_bytes(b"half of it")
    found = hashlib.sha256(b"half of it").hexdigest()
    with pytest.raises(
        ValueError, match=f"begin with dcbb9e9d, and is {found}: .*Download it anew"
    ):
        convert.convert_frozen_file(path)


def test_weights_are_known_by_their_file(tmp_path):
    names = {convert.name_of(tmp_path / s.file) for s in pretrained.SOURCES.values()}
    assert names == set(pretrained.SOURCES)
    with pytest.raises(ValueError, match=r"(?s)resnet.pth: .*lup_moco_r50.pth: https://github"):
        convert.convert_frozen_file(tmp_path / "resnet.pth")
    with pytest.raises(FileNotFoundError, match=r"alex.pth; download it from the package lpips"):
        convert.convert_frozen_file(tmp_path / "alex.pth")
    with pytest.raises(ValueError, match=r"must be called lpips_alex.npz to be found"):
        convert.convert_frozen_file(tmp_path / "alex.pth", tmp_path / "other.npz")


def test_a_converted_file_is_what_load_finds(tmp_path, monkeypatch):
    """The whole command but PyTorch's reading of its file."""
    (tmp_path / "alex.pth").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    source = pretrained.SOURCES["lpips_alex"]._replace(sha256=sha256)
    monkeypatch.setitem(pretrained.SOURCES, "lpips_alex", source)
    monkeypatch.setattr(convert, "read_torch", lambda path: rules.weights(LINEAR))
    convert.convert_frozen_file(tmp_path / "alex.pth", tmp_path / "lpips_alex.npz")
    loaded = pretrained.load("lpips_alex", tmp_path)
    assert loaded.sha256 == sha256
    assert_trees_close(loaded.params, linear_weights().params)
