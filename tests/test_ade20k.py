"""The TFDS builder of ADE20K, on a download of the real layout made here, and `manual_download`."""

import io
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.ade20k_download import (
    CMYK,
    GREY,
    ROOT,
    TINY,
    TRAIN_LABELS,
    TRAIN_PHOTOS,
    labels_of,
    name_of,
    write_download,
)
from PIL import Image

from data.builders import ade20k, manual_download
from data.builders.ade20k import Ade20k


@pytest.fixture(autouse=True, scope="module")
def _small_shards():
    """Shards of 2 examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manual_download, "SHARD_BYTES", 2 * ade20k._BYTES_PER_EXAMPLE)
        yield


def prepared(manual_dir: pathlib.Path, data_dir: pathlib.Path) -> Ade20k:
    built = Ade20k(config=TINY, data_dir=data_dir)
    built.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return built


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("download")
    write_download(folder)
    return folder


@pytest.fixture(scope="module")
def built(download, tmp_path_factory) -> Ade20k:
    return prepared(download, tmp_path_factory.mktemp("data"))


def test_splits_are_sorted_by_name_over_several_shards(built):
    assert len(list(built.data_path.glob("*-train.array_record-*"))) == 3
    train, test = built.as_data_source("train"), built.as_data_source("test")
    assert [e["id"].decode() for e in train] == [name_of("training", i) for i in range(5)]
    assert [e["id"].decode() for e in test] == [name_of("validation", i) for i in range(2)]
    assert train[3]["id"] == b"ADE_train_00000004"
    assert built.info.disable_shuffling


def test_photos_and_label_maps_are_the_files(download, built):
    features = built.info.features
    assert set(features) == {"id", "image", "label"}
    assert (features["image"].shape, features["label"].shape) == ((None, None, 3), (None, None, 1))
    for folder, split in (("training", "train"), ("validation", "test")):
        for i, example in enumerate(built.as_data_source(split)):
            file = download / ROOT / "images" / folder / f"{name_of(folder, i)}.jpg"
            with Image.open(file) as photo:
                np.testing.assert_array_equal(example["image"], np.asarray(photo.convert("RGB")))
            np.testing.assert_array_equal(example["label"][..., 0], labels_of(i, folder))
            assert example["image"].dtype == example["label"].dtype == np.uint8


def test_bytes_are_the_files_own_but_for_photos_that_are_not_rgb(download, built):
    decoders = {"image": tfds.decode.SkipDecoding(), "label": tfds.decode.SkipDecoding()}
    for i, example in enumerate(built.as_data_source("train", decoders=decoders)):
        photo = (download / TRAIN_PHOTOS / f"{name_of('training', i)}.jpg").read_bytes()
        assert (example["image"] == photo) == (i not in (GREY, CMYK))
        with Image.open(io.BytesIO(example["image"])) as stored:
            lossless = i in (GREY, CMYK)
            assert (stored.mode, stored.format) == ("RGB", "PNG" if lossless else "JPEG")
        label_map = (download / TRAIN_LABELS / f"{name_of('training', i)}.png").read_bytes()
        assert example["label"] == label_map


def test_the_published_sizes():
    (config,) = Ade20k.BUILDER_CONFIGS
    assert (config.num_train, config.num_test, ade20k.NUM_LABELS) == (20_210, 2_000, 151)


def truncate(file: pathlib.Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def remove_pair(folder: pathlib.Path) -> None:
    (folder / TRAIN_PHOTOS / "ADE_train_00000003.jpg").unlink()
    (folder / TRAIN_LABELS / "ADE_train_00000003.png").unlink()


def replace_labels(folder: pathlib.Path, picture: Image.Image) -> None:
    picture.save(folder / TRAIN_LABELS / "ADE_train_00000001.png")


# Whether it is found before anything is read, what is done, and what the error says.
FAULTS = {
    "no label map": (
        True,
        lambda folder: (folder / TRAIN_LABELS / "ADE_train_00000003.png").unlink(),
        r"1 of 5 photos in \S+/images/training have no label map: ADE_train_00000003\.jpg; unpack",
    ),
    "no photo": (
        True,
        lambda folder: (folder / TRAIN_PHOTOS / "ADE_train_00000003.jpg").unlink(),
        r"1 of 5 label maps in \S+/training have no photo: ADE_train_00000003\.png; unpack the dow",
    ),
    "neither": (
        True,
        remove_pair,
        r"\S+/training holds 4 photos, not 5: unpack the download again",
    ),
    "other file": (
        True,
        lambda folder: (folder / TRAIN_PHOTOS / "readme.txt").write_text(""),
        r"1 file\(s\) in \S+/images/training are not \.jpg files: readme\.txt; unpack",
    ),
    "truncated photo": (
        False,
        lambda folder: truncate(folder / TRAIN_PHOTOS / "ADE_train_00000002.jpg"),
        r"cannot read \S+/ADE_train_00000002\.jpg \(image file is truncated.*\): unpack the down",
    ),
    "empty photo": (
        False,
        lambda folder: (folder / TRAIN_PHOTOS / "ADE_train_00000002.jpg").write_bytes(b""),
        r"cannot read \S+/ADE_train_00000002\.jpg \(it is empty\): unpack the download again",
    ),
    "truncated label map": (
        False,
        lambda folder: truncate(folder / TRAIN_LABELS / "ADE_train_00000002.png"),
        r"cannot read \S+/ADE_train_00000002\.png \(image file is truncated.*\): unpack the down",
    ),
    "colours": (
        False,
        lambda folder: replace_labels(folder, Image.new("RGB", (30, 20))),
        r"label map \S+/ADE_train_00000001\.png has mode RGB, not L: unpack the download again",
    ),
    "no label": (
        False,
        lambda folder: replace_labels(folder, Image.new("L", (30, 20), 151)),
        r"\S+/ADE_train_00000001\.png holds the value 151, above the last label 150: unpack",
    ),
    "two sizes": (
        False,
        lambda folder: replace_labels(folder, Image.new("L", (30, 19))),
        r"\S+0001\.png is 30×19, but \S+0001\.jpg is 30×20: unpack the download again",
    ),
}


@pytest.mark.parametrize(("up_front", "damage", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_named_with_its_remedy(tmp_path, monkeypatch, up_front, damage, message):
    write_download(tmp_path / "download")
    damage(tmp_path / "download")
    if up_front:
        monkeypatch.setattr(Ade20k, "_read_example", lambda *_: pytest.fail("was read"))
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        prepared(tmp_path / "download", tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_a_missing_folder_shows_the_instructions(tmp_path):
    (tmp_path / "download" / ROOT / "images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"there is no folder \S+/training\n") as error:
        prepared(tmp_path / "download", tmp_path / "data")
    assert Ade20k.MANUAL_DOWNLOAD_INSTRUCTIONS in str(error.value)


def records(prepared: Ade20k) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in prepared.data_path.glob("*.array_record*")}


def test_interrupted_preparation_starts_afresh_and_gives_the_same_bytes(
    download, built, tmp_path, monkeypatch
):
    read = Ade20k._read_example

    def stop_at_fourth(self, item):
        if item.name == name_of("training", 3):
            raise KeyboardInterrupt
        return read(self, item)

    monkeypatch.setattr(Ade20k, "_read_example", stop_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        prepared(download, tmp_path)
    monkeypatch.undo()
    # What a killed process leaves behind.
    leftover = tmp_path / "ade20k" / "tiny" / "incomplete.ABCDEF_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "ade20k-train.array_record-00000-of-00003").write_bytes(b"half")
    assert len(records(built)) == 4
    assert records(prepared(download, tmp_path)) == records(built)


def test_preparing_again_needs_no_download_and_leaves_the_files_alone(built, tmp_path):
    before = {file: os.stat(file).st_mtime_ns for file in built.data_path.iterdir()}
    again = prepared(tmp_path / "no download", built.data_dir_root)
    assert {file: os.stat(file).st_mtime_ns for file in again.data_path.iterdir()} == before


def test_tensorflow_is_never_imported_however_large_a_split_is(download, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    program = f"""
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle
from data.builders import ade20k, celeba_mask_hq
shuffle.MAX_MEM_BUFFER_SIZE = 100  # beyond it, TFDS's shuffling writes files with TensorFlow
config = ade20k.Ade20kConfig(name="t", description="", num_train=5, num_test=2)
builder = ade20k.Ade20k(config=config, data_dir={str(tmp_path)!r})
builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir={str(download)!r})
)
assert builder.as_data_source("test")[1]["image"].shape == (21, 30, 3)
assert celeba_mask_hq.CelebaMaskHq(data_dir={str(tmp_path)!r}).info.features
"""
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=pathlib.Path(__file__).parent.parent,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=True,
    )


def test_ordered_map_keeps_the_order_and_does_not_run_ahead():
    started = []

    def slower_for_even(item):
        started.append(item)
        time.sleep(0.002 * (item % 2 == 0))
        return -item

    results = manual_download.ordered_map(slower_for_even, iter(range(30)), num_threads=3)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(started) <= 7
    assert list(results) == [-i for i in range(1, 30)]
    assert list(manual_download.ordered_map(str, [1, 2])) == ["1", "2"]


def test_ordered_map_raises_the_first_error_and_gives_up_the_rest():
    before, started = threading.active_count(), []

    def fail_at_two(item):
        started.append(item)
        if item >= 2:
            raise ValueError(f"item {item}")
        return item

    results = manual_download.ordered_map(fail_at_two, range(100), num_threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
    assert len(started) <= 6
    assert threading.active_count() == before
