"""What a run reads, and what its images are told apart by."""

import os
import shutil

import numpy as np
import pytest
from helpers import small_folder
from ml_collections import ConfigDict
from PIL import Image

from data import datasets
from data.feed import Feed
from scam_jax.examples import Picture
from scam_jax.inference import photos
from scam_jax.inference.model import TrainedModel


def config(directory, **changes):
    values = {
        "name": "folder",
        "directory": str(directory),
        "manual_dir": "",
        "height": small_folder.HEIGHT,
        "width": small_folder.WIDTH,
        "num_labels": small_folder.NUM_LABELS,
        "label_map": "",
        "augmentation": "basic",
        "train_split": "train",
        "skip_bad_files": False,
        "num_workers": 0,
    }
    return ConfigDict({**values, **changes})


@pytest.fixture
def folder(tmp_path):
    small_folder.make(tmp_path)
    return tmp_path


def feed(data):
    return Feed(data, seed=0, batch_size=2, skipped={})


def test_an_empty_split_is_refused_with_the_reason(folder):
    assert feed(config(folder)).validation() is None
    with pytest.raises(ValueError, match="validation split is empty: folder has too few training"):
        feed(config(folder)).split("validation")


def test_pictures_in_training_are_never_of_the_test_split(folder):
    shown = [example["image"] for example in feed(config(folder)).examples_to_show(5)]
    train = [example["image"] for example in (datasets.load(config(folder), "train"))]
    for i, image in enumerate(shown):
        np.testing.assert_array_equal(image, train[i % 3])


def test_files_are_read_as_the_model_wants_them(folder):
    pair = [
        folder / "train" / kind / f"b.{s}" for kind, s in (("images", "png"), ("labels", "png"))
    ]
    picture = photos.read_picture(*pair, config(folder))
    assert picture.image.shape == (small_folder.HEIGHT, small_folder.WIDTH, 3)
    assert picture.labels.shape == (small_folder.HEIGHT, small_folder.WIDTH)


@pytest.mark.parametrize("augmentation", ["none", "crop"])
def test_command_line_notebook_and_evaluation_see_the_same_picture(folder, augmentation):
    """Another shape than the model's, and a label map of another size than its photo."""
    data = config(folder, augmentation=augmentation)
    image, labels = (folder / "test" / kind / "b.png" for kind in ("images", "labels"))
    evaluated = datasets.load(data, "test")[1]
    model = TrainedModel(ConfigDict({"data": data}), {})
    for picture in (
        model.read(str(image), str(labels)),
        model.fit("photo", Picture(np.asarray(Image.open(image)), np.asarray(Image.open(labels)))),
    ):
        np.testing.assert_array_equal(picture.image, evaluated["image"])
        np.testing.assert_array_equal(picture.labels, evaluated["label"])


def real_name(data, augmented=False):
    return datasets.load_real(data, augmented=augmented)[0]


def test_real_images_have_a_name_of_their_own(folder):
    """Another size, split, augmentation or folder, or a file changed: another name."""
    names = [
        real_name(config(folder)),
        real_name(config(folder), augmented=True),
        real_name(config(folder, augmentation="none"), augmented=True),
        real_name(config(folder, augmentation="crop")),
        real_name(config(folder, width=10)),
        real_name(config(folder, train_split="authors_train")),
    ]
    assert names[0] == real_name(config(folder)), "the same images, the same name"
    Image.new("RGB", (20, 30)).save(folder / "train" / "images" / "b.png")
    names.append(real_name(config(folder)))
    Image.new("RGB", (20, 30)).save(folder / "train" / "images" / "d.png")
    Image.new("L", (20, 30)).save(folder / "train" / "labels" / "d.png")
    names.append(real_name(config(folder)))
    assert len({*names}) == len(names), names
    assert names[0].startswith("folder_train_resize_12x8_")
    assert names[1].startswith("folder_authors_train_basic_12x8_")


def test_training_data_are_told_apart_by_what_is_in_the_files(folder, tmp_path_factory):
    files = [folder / "train" / kind / "b.png" for kind in ("images", "labels")]
    for file in files:  # without compression, all pictures have the same size
        Image.open(file).save(file, compress_level=0)
    copy = tmp_path_factory.mktemp("elsewhere") / "photos"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    os.utime(copy / "train" / "images" / "b.png", (1, 1))
    (copy / "test" / "images" / "b.png").unlink()
    seen = [feed(config(folder)).training_data]
    assert feed(config(copy)).training_data == seen[0]
    assert Feed(config(copy), 0, 2, {"train": {"b": "a fault"}}).training_data == seen[0]
    for file in files:
        size, changed = file.stat().st_size, np.array(Image.open(file))
        changed[0, 0] ^= 1
        Image.fromarray(changed).save(file, compress_level=0)
        assert file.stat().st_size == size
        seen.append(feed(config(folder)).training_data)
    assert len({*seen}) == 3


def test_augmented_real_images_are_the_first_epochs(folder):
    """Always the same, and of the images' size."""
    data = config(folder)
    _, source = datasets.load_real(data, augmented=True)
    _, again = datasets.load_real(data, augmented=True)
    batches = feed(data).train_batches(0)
    batch = next(batches)
    batches.close()
    drawn = [source[i]["image"] for i in range(len(source))]
    for image, same in zip(drawn, (again[i]["image"] for i in range(3)), strict=True):
        np.testing.assert_array_equal(image, same)
    for image in batch["image"]:
        assert any(np.array_equal(image, d) for d in drawn), "training's first epoch has it"
