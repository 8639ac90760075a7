"""The TFDS builder of CelebAMask-HQ, on downloads of the real layout made here."""

import pathlib
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.celeba_download import (
    HEIGHT,
    MASKS,
    PHOTOS,
    SEAN,
    WIDTH,
    labels_of,
    mask_file,
    masks_of,
    photo_of,
    save,
    sean_labels_of,
    write_download,
)
from PIL import Image

from data.builders import celeba_mask_hq, manual_download
from data.builders.celeba_mask_hq import LABELS, PARTS, CelebaMaskHq, CelebaMaskHqConfig, config_for


@pytest.fixture(autouse=True, scope="module")
def _small_folders_and_shards():
    """Folders of 4 numbers, so that 9 numbers fill three, and shards of 2 examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celeba_mask_hq, "FOLDER_SIZE", 4)
        patch.setattr(manual_download, "SHARD_BYTES", 2 * 4 * HEIGHT * WIDTH)
        yield


def prepared(
    manual_dir: pathlib.Path,
    data_dir: pathlib.Path,
    labels: str = "official",
    height: int = HEIGHT,
    width: int = WIDTH,
) -> CelebaMaskHq:
    sizes = {"height": height, "width": width, "num_train": 6, "num_test": 3}
    config = CelebaMaskHqConfig(name="tiny", description="For tests.", labels=labels, **sizes)
    builder = CelebaMaskHq(config=config, data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    return builder


def examples_of(builder: CelebaMaskHq) -> list[dict[str, np.ndarray]]:
    return [example for split in ("train", "test") for example in builder.as_data_source(split)]


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("download")
    write_download(folder)
    return folder


@pytest.fixture(scope="module")
def builder(download, tmp_path_factory) -> CelebaMaskHq:
    return prepared(download, tmp_path_factory.mktemp("data"))


def test_label_numbers_are_those_published():
    names = "background skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip"
    assert [*names.split(), "hair", "hat", "ear_r", "neck_l", "neck", "cloth"] == list(LABELS)


def test_splits_hold_the_numbers_in_order_over_several_shards(builder):
    assert len(list(builder.data_path.glob("*-train.array_record-*"))) == 3
    train, test = builder.as_data_source("train"), builder.as_data_source("test")
    assert [e["id"] for e in train] == [b"%05d" % number for number in range(6)]
    assert [e["id"] for e in test] == [b"%05d" % number for number in range(6, 9)]
    assert train[4]["id"] == b"00004"


def test_features(builder):
    for name, shape in (("image", (HEIGHT, WIDTH, 3)), ("label", (HEIGHT, WIDTH))):
        feature = builder.info.features[name]
        assert (feature.shape, feature.np_dtype) == (shape, np.uint8)
        assert all(
            (e[name].shape, e[name].dtype) == (shape, np.uint8) for e in examples_of(builder)
        )
    assert set(builder.info.features) == {"id", "image", "label"}
    assert builder.info.disable_shuffling


@pytest.mark.parametrize(("height", "width"), [(HEIGHT, WIDTH), (32, 32), (40, 12)])
def test_images_and_merged_masks(download, tmp_path, height, width):
    built = prepared(download, tmp_path, height=height, width=width)
    for number, example in enumerate(examples_of(built)):
        with Image.open(download / PHOTOS / f"{number}.jpg") as photo:
            image = photo.resize((width, height), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(example["image"], np.asarray(image))
        np.testing.assert_array_equal(example["label"], labels_of(number, height, width))


def test_label_maps_of_sean_are_what_the_files_say(download, tmp_path):
    examples = examples_of(prepared(download, tmp_path, labels="sean"))
    assert [e["id"] for e in examples] == [b"%05d" % number for number in range(9)]
    for number, example in enumerate(examples):
        np.testing.assert_array_equal(example["label"], sean_labels_of(number))
    # This one is a PNG, and so known without its file.
    image = photo_of(2).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(examples[2]["image"], np.asarray(image))


def test_configs_by_size(tmp_path):
    for labels, name in (("official", "256x256"), ("sean", "256x256_sean")):
        builder = CelebaMaskHq(config=config_for(256, 256, labels), data_dir=tmp_path)
        # The copy is what a worker process reads with.
        for copy in (builder, pickle.loads(pickle.dumps(builder))):
            assert (copy.builder_config.name, copy.builder_config.labels) == (name, labels)
    config = config_for(128, 64, "sean")
    assert (config.name, config.num_train, config.num_test) == ("128x64_sean", 28_000, 2_000)
    builder = CelebaMaskHq(config=config, data_dir=tmp_path)
    assert builder.info.features["image"].shape == (128, 64, 3)
    assert pickle.loads(pickle.dumps(builder)).builder_config == config
    with pytest.raises(ValueError, match="labels = 'SEAN': use one of official, sean"):
        config_for(256, 256, "SEAN")


def truncate(file: pathlib.Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def remove_masks(folder: pathlib.Path, numbers: range) -> None:
    for number in numbers:
        for part in masks_of(number):
            mask_file(folder, number, part).unlink()


def mask_at(folder: pathlib.Path, number: int, place: int) -> pathlib.Path:
    return mask_file(folder, number, sorted(masks_of(number), key=PARTS.index)[place])


# What is done to the download, and what the error says.
OFFICIAL_FAULTS = {
    "no photo": (
        lambda folder: [(folder / PHOTOS / f"{number}.jpg").unlink() for number in (3, 7)],
        r"2 of 9 files are missing from \S+/CelebA-HQ-img: 3\.jpg, 7\.jpg; unpack the download",
    ),
    "no masks": (
        lambda folder: remove_masks(folder, range(1, 8)),
        r"7 of 9 photos have no masks in \S+-anno: 00001, 00002, 00003, 00004, 00005, …; unpack",
    ),
    "unknown part": (
        lambda folder: save(Image.new("L", (16, 16)), mask_file(folder, 0, "beard")),
        r"1 file\(s\) in \S+-anno are no masks of a known part: 0/00000_beard\.png; unpack",
    ),
    "other folder": (
        lambda folder: save(Image.new("L", (16, 16)), folder / MASKS / "1" / "00000_skin.png"),
        r"are no masks of a known part: 1/00000_skin\.png; unpack",
    ),
    "truncated photo": (
        lambda folder: truncate(folder / PHOTOS / "5.jpg"),
        r"cannot read \S+/5\.jpg \(image file is truncated.*\): unpack the download again",
    ),
    "truncated mask": (
        lambda folder: truncate(mask_at(folder, 7, 0)),
        r"cannot read \S+/00007_\w+\.png \(image file is truncated.*\): unpack the download again",
    ),
    "masks of two sizes": (
        lambda folder: save(Image.new("L", (16, 8)), mask_at(folder, 2, -1)),
        r"differ in size: \S+/00002_(\w+)\.png is 16×16, \S+/00002_(?!\1)\w+\.png is 16×8; unpack",
    ),
}
SEAN_FAULTS = {
    "no label map": (
        lambda folder: (folder / SEAN / "labels/4.png").unlink(),
        r"1 of 6 files are missing from \S+/train/labels: 4\.png; unpack the download again",
    ),
    "two photos": (
        lambda folder: save(photo_of(1), folder / SEAN / "images/1.png"),
        r"1 number\(s\) have two files in \S+/train/images: 1\.jpg and 1\.png; unpack",
    ),
    "no label": (
        lambda folder: save(Image.new("I;16", (4, 4), 256), folder / SEAN / "labels/4.png"),
        r"\S+/labels/4\.png holds the value 256, above the last label 18: unpack",
    ),
    "colours": (
        lambda folder: save(Image.new("RGB", (4, 4)), folder / SEAN / "labels/4.png"),
        r"\S+/labels/4\.png has mode RGB, not 1 or L or P or I or I;16: unpack",
    ),
}
FAULTS = [
    *[("official", name, *case) for name, case in OFFICIAL_FAULTS.items()],
    *[("sean", name, *case) for name, case in SEAN_FAULTS.items()],
]
FOUND_WHEN_READ = ("truncated photo", "truncated mask", "masks of two sizes", "no label", "colours")


@pytest.mark.parametrize(
    ("labels", "name", "damage", "message"), FAULTS, ids=[name for _, name, *_ in FAULTS]
)
def test_every_fault_is_named_with_its_remedy(tmp_path, monkeypatch, labels, name, damage, message):
    write_download(tmp_path / "download")
    damage(tmp_path / "download")
    if name not in FOUND_WHEN_READ:
        monkeypatch.setattr(CelebaMaskHq, "_read_example", lambda *_: pytest.fail("was read"))
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        prepared(tmp_path / "download", tmp_path / "data", labels)
    assert not list((tmp_path / "data").rglob("*.array_record*"))


@pytest.mark.parametrize(
    ("present", "labels", "message"),
    [
        (None, "official", r"download does not exist or is empty"),
        ("elsewhere", "official", r"there is no folder \S+/CelebAMask-HQ/CelebA-HQ-img\n"),
        (PHOTOS, "sean", r"there is no folder \S+/CelebA-HQ/train/images\n"),
    ],
)
def test_a_missing_folder_shows_the_instructions(tmp_path, present, labels, message):
    if present:
        (tmp_path / "download" / present).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=message) as error:
        prepared(tmp_path / "download", tmp_path / "data", labels)
    for line in CelebaMaskHq.MANUAL_DOWNLOAD_INSTRUCTIONS.splitlines():
        assert line.strip() in str(error.value)
