"""The TFDS builder of Clothing Co-Parsing, on a clone of the real layout made here."""

import shutil

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from absl import flags
from etils import epath
from PIL import Image

from configs import ccp as config_file
from data import datasets
from data.builders import ccp
from data.builders.ccp import Box, Ccp, CcpConfig
from scam_jax import models
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.label_orders import CCP, CCP_CLOTHES, CCP_CLOTHES_NAMES
from scam_jax.runs.validation import validate

COUNT, NOBODY = 43, 7
HAIR, SKIN, COAT = (CCP.index(name) for name in ("hair", "skin", "coat"))
TINY = CcpConfig(name="24x16", height=24, width=16, num_photos=COUNT)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Photos 0001 … 0043 with label maps, of which 0007 shows nobody, and one without."""
    folder = tmp_path_factory.mktemp("clone")
    root = folder / ccp.FOLDER
    (root / "photos").mkdir(parents=True)
    (root / "annotations" / "pixel-level").mkdir(parents=True)
    for number in range(1, COUNT + 2):
        # A person of its own colour in the middle of a blue photo.
        image = np.full((60, 50, 3), (0, 0, 255), np.uint8)
        image[10:50, 20:30] = 3 * number
        Image.fromarray(image).save(root / "photos" / f"{number:04d}.jpg", quality=95)
        labels = np.zeros((60, 50), np.uint8)
        labels[10:20, 20:30], labels[20:50, 20:30] = HAIR, COAT
        labels = labels * (number != NOBODY)
        if number <= COUNT:
            file = root / "annotations" / "pixel-level" / f"{number:04d}.mat"
            scipy.io.savemat(file, {"groundtruth": labels})
    return folder


def prepare(manual_dir, data_dir):
    built = Ccp(config=TINY, data_dir=data_dir)
    built.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return built


@pytest.fixture(scope="module")
def built(clone, tmp_path_factory):
    return prepare(clone, tmp_path_factory.mktemp("data"))


def test_every_tenth_is_test_and_every_twentieth_of_the_others_validation(built):
    found = {
        split: [int(example["id"]) for example in built.as_data_source(split)]
        for split in ("train", "validation", "test")
    }
    assert found["test"] == [10, 20, 30, 40]
    assert found["validation"] == [22]  # the twentieth without 10 and 20
    assert NOBODY not in found["train"]
    assert sorted([*found["train"], *found["validation"], *found["test"]]) == [
        n for n in range(1, COUNT + 1) if n != NOBODY
    ]


def test_photos_and_labels_are_cropped_to_the_person_and_resized(built):
    example = built.as_data_source("test")[0]
    assert example["image"].shape == (24, 16, 3)
    labels = example["label"].reshape(24, 16)
    assert {*np.unique(labels)} == {0, HAIR, COAT}
    # The person has 40 rows of 42.4 in the crop, and 10 of 28.3 columns.
    assert 22 <= (labels > 0).any(1).sum() <= 23
    assert 5 <= (labels > 0).any(0).sum() <= 7
    person = example["image"][12, 8].astype(int)
    assert np.abs(person - 3 * 10).max() < 12


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        # A tall person: 40 rows and 6 % more, at 2:3.
        ((10, 50), (20, 30), Box(9, 51, 11, 39)),
        # A wide one: 30 columns, 31.8 with the margin, which need 47.7 rows.
        ((20, 40), (10, 40), Box(6, 54, 9, 41)),
        # At the edge, the crop moves into the photo.
        ((0, 40), (0, 10), Box(0, 42, 0, 28)),
        # Larger than the photo, it shrinks to the photo.
        ((0, 60), (0, 50), Box(0, 60, 5, 45)),
    ],
)
def test_the_crop(rows, columns, expected):
    labels = np.zeros((60, 50), np.uint8)
    labels[slice(*rows), slice(*columns)] = 1
    assert ccp.person_box(labels, 2 / 3) == expected


def test_the_small_config_reads_nine_labels(clone, tmp_path, monkeypatch):
    monkeypatch.setitem(Ccp.builder_configs, TINY.name, TINY)
    config = config_file.get_config("size=small").data
    config.height, config.width = 24, 16
    config.directory, config.manual_dir = str(tmp_path), str(clone)
    datasets.prepare(config)
    assert datasets.names_of_labels(config) == CCP_CLOTHES_NAMES
    example = datasets.load(config, "test")[0]
    names = [CCP_CLOTHES_NAMES[label] for label in np.unique(example["label"])]
    assert names == ["background", "hair", "outerwear"]


def test_the_merge_gives_every_label_a_place():
    merged = LabelMap(CCP_CLOTHES, len(CCP_CLOTHES_NAMES))
    found = merged(np.arange(len(CCP), dtype=np.uint8)[None], "all labels")[0]
    assert {*found} == {*range(9)}
    named = {name: CCP_CLOTHES_NAMES[label] for name, label in zip(CCP, found, strict=True)}
    expected = {"null": "background"} if "null" in named else {"background": "background"}
    expected |= {"skin": "skin", "jeans": "bottom", "coat": "outerwear", "boots": "shoes"}
    assert named | expected == named
    assert (named["bag"], named["hat"], named["t-shirt"]) == ("accessories", "accessories", "top")


def test_sizes_of_the_config_file():
    assert config_file.get_config().data.height == 256
    for family in models.FAMILIES:
        small = config_file.get_config(f"size=small,model={family}")
        assert (small.data.height, small.model.family) == (96, family)
        validate(small)
    with pytest.raises(flags.IllegalFlagValueError, match="size=tiny: use published or small"):
        config_file.get_config("size=tiny")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root), r"git clone https://github.com/bearpaw"),
        (lambda root: (root / "photos/0003.jpg").unlink(), r"1 of 43 photos are missing .*0003"),
        (
            lambda root: (root / "annotations/pixel-level/0004.mat").write_bytes(b"MATLAB 5.0"),
            r"0004\.mat holds no label map 'groundtruth': unpack",
        ),
        (
            lambda root: scipy.io.savemat(
                root / "annotations/pixel-level/0005.mat", {"groundtruth": np.full((60, 50), 77)}
            ),
            r"0005\.mat holds \(60, 50\) with values 77 … 77, not .* 0 … 58",
        ),
        (
            lambda root: (root / "annotations/pixel-level/0002.mat").unlink(),
            r"pixel-level holds 42 \.mat files, not 43: clone again",
        ),
        (
            lambda root: Image.new("RGB", (9, 9)).save(root / "photos/0006.jpg"),
            r"0006\.mat is 50×60, but .*0006\.jpg is 9×9",
        ),
    ],
)
def test_faults_of_a_clone_are_named(clone, tmp_path, damage, message):
    copied = shutil.copytree(clone, tmp_path / "clone")
    damage(copied / ccp.FOLDER)
    with pytest.raises((FileNotFoundError, ValueError), match=f"(?s){message}"):
        prepare(epath.Path(copied), tmp_path / "data")
