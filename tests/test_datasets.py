"""A data set as a configuration asks for it: splits, sizes, bad files, refusals."""

import importlib
import pathlib
import shutil

import jax
import ml_collections
import numpy as np
import pytest
from etils import epath
from helpers import ade20k_download, celeba_download, small_folder
from helpers.small_folder import HEIGHT, NUM_LABELS, WIDTH, labels_of, write
from PIL import Image

from configs import ade20k, common, idesigner
from data import datasets, feed
from data.builders import celeba_mask_hq
from data.builders.ade20k import Ade20k
from data.builders.celeba_mask_hq import CelebaMaskHqConfig
from scam_jax.devices import agreement, sharding
from scam_jax.inference.resizing import resize_nearest
from scam_jax.runs import run_folder, validation

CONFIGS = pathlib.Path(common.__file__).parent


@pytest.fixture
def root(tmp_path):
    small_folder.make(tmp_path)
    return tmp_path


def config_dict(root: pathlib.Path, **changes) -> ml_collections.ConfigDict:
    config = common.base().data
    config.update({"directory": str(root), "height": HEIGHT, "width": WIDTH})
    config.update({"num_labels": NUM_LABELS, **changes})
    return config


def test_pictures_of_the_right_size_are_left_as_they_are(root):
    image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    label = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % NUM_LABELS
    write(root, "d.png", image, label)
    example = datasets.load_for_training(config_dict(root))[0][3]
    np.testing.assert_array_equal(example["image"], image)
    np.testing.assert_array_equal(example["label"], label)


def test_a_configuration_loads_a_folder(root):
    config = config_dict(root, height=6, width=9)
    datasets.prepare(config)
    assert datasets.load(config, "test")[2]["image"].shape == (6, 9, 3)
    assert datasets.load_transfers(config) is None
    (root / "test" / "labels" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images in .*test/images have no label"):
        datasets.prepare(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "people"}, r"config\.data\.name = 'people': use one of ade20k, .*folder"),
        (
            {"augmentation": "crops"},
            r"config\.data\.augmentation = 'crops': use one of basic, crop",
        ),
        ({"train_split": "all"}, r"train_split = 'all': use one of authors_train, train"),
        ({"num_workers": -1}, r"config\.data\.num_workers = -1: use 0 or more"),
        ({"directory": ""}, r"config\.data\.directory is empty: say where"),
        ({"label_map": "0|1|1"}, r"0\|1\|1"),
        ({"name": "celeba_mask_hq"}, r"celeba_mask_hq has 19 labels: .*num_labels = 19, not 5"),
        (
            {"name": "ade20k", "num_labels": 151, "skip_bad_files": True},
            r"only folders can be used",
        ),
    ],
)
def test_a_configuration_that_cannot_be(root, changes, message):
    config = config_dict(root, **changes)
    for call in (datasets.prepare, datasets.load_for_training, datasets.load_transfers):
        with pytest.raises(ValueError, match=message):
            call(config)


def test_unknown_split(root):
    with pytest.raises(ValueError, match=r"unknown split 'valid'; the splits are train, valid"):
        datasets.load(config_dict(root), "valid")


def names_of(examples) -> list[int]:
    """The number that every image of `numbered` is filled with."""
    return [int(examples[i]["image"][0, 0, 0]) for i in range(len(examples))]


@pytest.fixture
def numbered(tmp_path):
    """45 training pairs and 2 for testing, whose images are filled with their number."""
    for split, count in (("train", 45), ("test", 2)):
        for i in range(count):
            image = np.full((HEIGHT, WIDTH, 3), i + 100 * (split == "test"), np.uint8)
            write(tmp_path, f"{i:02d}.png", image, np.zeros((HEIGHT, WIDTH), np.uint8), split)
    return tmp_path


def test_validation_is_held_out_of_train(numbered):
    config = config_dict(numbered)
    train, _ = datasets.load_for_training(config)
    assert names_of(datasets.load(config, "validation")) == [19, 39]
    assert names_of(train) == names_of(datasets.load(config, "train"))
    assert names_of(train) == [i for i in range(45) if i not in (19, 39)]
    assert names_of(datasets.load(config, "test")) == [100, 101]


def test_a_photo_that_is_skipped_moves_none_to_another_split(numbered):
    config = config_dict(numbered)
    for bad, held_out in (("05", [19, 39]), ("19", [39])):
        skipped = {"train": {bad: "damaged"}}
        assert names_of(datasets.load(config, "validation", skipped)) == held_out
        trained = [i for i in range(45) if i not in (19, 39, int(bad))]
        assert names_of(datasets.load(config, "train", skipped)) == trained


def test_the_authors_train_on_all_of_train(numbered):
    config = config_dict(numbered, train_split="authors_train")
    assert names_of(datasets.load_for_training(config)[0]) == list(range(45))
    assert len(datasets.load(config, "validation")) == 0, "all of it is trained on"
    assert names_of(datasets.load(config, "test")) == [100, 101]


def test_a_validation_folder_is_taken_as_it_is(numbered):
    (numbered / "test").rename(numbered / "validation")
    write(numbered, "t.png", np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4), np.uint8), "test")
    config = config_dict(numbered)
    assert names_of(datasets.load(config, "validation")) == [100, 101]
    assert names_of(datasets.load_for_training(config)[0]) == list(range(45))


def test_label_maps_of_another_size_are_counted_and_said_once(root, caplog):
    write(root, "d.png", np.zeros((9, 7, 3), np.uint8), np.zeros((9, 7), np.uint8))
    with caplog.at_level("WARNING"):
        datasets.prepare(config_dict(root))
    said = [record.getMessage() for record in caplog.records if "another size" in record.message]
    assert len(said) == 2, "train and test"
    assert "3 of 4 label maps of" in said[0]
    assert "such as a" in said[0]


def test_bad_files_are_skipped_only_if_asked_and_listed(root):
    (root / "train" / "images" / "a.jpg").write_bytes(b"")
    Image.new("RGBA", (4, 4)).save(root / "test" / "labels" / "c.png")
    with pytest.raises(ValueError, match=r"a\.jpg \(it is empty\): replace or remove it"):
        datasets.prepare(config_dict(root))
    config = config_dict(root, skip_bad_files=True)
    datasets.prepare(config)
    skipped = datasets.find_bad_files(config)
    assert {split: list(bad) for split, bad in skipped.items()} == {"train": ["a"], "test": ["c"]}
    assert "a.jpg (it is empty)" in skipped["train"]["a"]
    assert "c.png has colour" in skipped["test"]["c"]
    train, _ = datasets.load_for_training(config, skipped)
    assert [len(train), len(datasets.load(config, "test", skipped))] == [2, 2]
    np.testing.assert_array_equal(train[0]["label"][::2, ::2], labels_of(root, "b"))


def test_the_list_of_skipped_files_is_that_of_the_present_data(root, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "is_begun", lambda workdir: True)
    run, config = epath.Path(tmp_path / "run"), common.base()
    config.data = config_dict(root, skip_bad_files=True)
    whole = (root / "train" / "images" / "a.jpg").read_bytes()
    (root / "train" / "images" / "a.jpg").write_bytes(b"")
    opened = feed.prepare(config, run)
    run_folder.record(config, run, training_data=opened.training_data)
    assert [*opened.skipped["train"]] == ["a"]
    (root / "train" / "images" / "a.jpg").write_bytes(whole)
    (root / "train" / "images" / "b.png").write_bytes(b"")
    assert [*feed.prepare(config, run).skipped["train"]] == ["b"]


def test_a_start_on_other_photos_does_not_spoil_the_list(
    root, tmp_path, tmp_path_factory, monkeypatch
):
    """The start is refused after it has searched the other photos for bad files."""
    monkeypatch.setattr(run_folder, "is_begun", lambda workdir: True)
    run, config = epath.Path(tmp_path / "run"), common.base()
    config.data = config_dict(root, skip_bad_files=True)
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(root, other, dirs_exist_ok=True)
    (root / "train" / "images" / "a.jpg").write_bytes(b"")
    (other / "train" / "images" / "b.png").write_bytes(b"")
    opened = feed.prepare(config, run)
    run_folder.record(config, run, training_data=opened.training_data)
    config.data.directory = str(other)
    assert [*feed.prepare(config, run).skipped["train"]] == ["b"]
    config.data.directory = str(root)
    assert [*feed.prepare(config, run).skipped["train"]] == ["a"]


def test_a_process_with_other_photos_is_refused(root, tmp_path, monkeypatch):
    run, config = epath.Path(tmp_path / "run"), common.base()
    config.data = config_dict(root)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(sharding, "wait_for_all", lambda what: None)
    monkeypatch.setattr(agreement, "everywhere", lambda holds: holds)
    firsts = datasets.training_data(config.data)
    monkeypatch.setattr(agreement, "is_of_first_process", lambda text: text == firsts)
    feed.prepare(config, run)
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        (root / "train" / kind / f"a.{suffix}").unlink()
    with pytest.raises(ValueError, match="not the same in every process"):
        feed.prepare(config, run)


def test_a_process_that_does_not_see_the_prepared_data_set_is_refused(tmp_path, monkeypatch):
    config = common.base()
    config.data.update({"name": "synthetic_people", "directory": str(tmp_path / "mine")})
    config.data.update({"height": 32, "width": 32, "num_labels": 6})
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(sharding, "wait_for_all", lambda what: None)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(agreement, "everywhere", lambda holds: holds)
    with pytest.raises(FileNotFoundError, match="not every process sees synthetic_people there"):
        feed.prepare(config, epath.Path(tmp_path / "run"))
    assert not (tmp_path / "mine").exists(), "it was prepared a second time"


def test_other_held_out_images_have_another_name(numbered):
    """A photo that is removed shifts which ones are held out; one that is skipped does not."""
    config = config_dict(numbered)
    skipped = datasets.load_real(config, augmented=False, skipped={"train": {"05": "bad"}})[0]
    for kind in ("images", "labels"):
        (numbered / "train" / kind / "05.png").unlink()
    assert datasets.load_real(config, augmented=False)[0] != skipped


def test_of_the_files_that_are_not_skipped_the_resized_are_counted(root, caplog):
    (root / "train" / "images" / "a.jpg").write_bytes(b"")
    with caplog.at_level("WARNING"):
        datasets.find_bad_files(config_dict(root, skip_bad_files=True))
    assert "2 of 2 label maps of train have another size" in caplog.text


@pytest.mark.parametrize("name", ["celeba_mask_hq", "celeba_mask_hq_sean"])
def test_a_download_is_prepared_and_loaded_by_its_name(tmp_path, monkeypatch, name):
    """The prepared photos by number, merged labels, and the numbers held out."""
    download = tmp_path / "download"
    celeba_download.write_download(download)
    monkeypatch.setattr(celeba_mask_hq, "FOLDER_SIZE", 4)
    monkeypatch.setattr(datasets, "HELD_OUT_EVERY", 3)
    monkeypatch.setattr(CelebaMaskHqConfig, "__init__", tiny_config)
    config = config_dict(
        tmp_path / "prepared",
        name=name,
        manual_dir=str(download),
        num_labels=2,
        label_map="0|*",
        augmentation="basic",
    )
    datasets.prepare(config)
    shutil.rmtree(download)
    train, augment = datasets.load_for_training(config)
    assert [len(train), len(datasets.load(config, "validation"))] == [4, 2]
    assert len(datasets.load(config, "test")) == 3
    expected = {
        "celeba_mask_hq": lambda n: celeba_download.labels_of(n, HEIGHT, WIDTH),
        "celeba_mask_hq_sean": lambda n: resize_nearest(
            celeba_download.sean_labels_of(n), HEIGHT, WIDTH
        ),
    }[name]
    for i, number in enumerate([0, 1, 3, 4]):
        np.testing.assert_array_equal(train[i]["label"], expected(number) > 0)
    np.testing.assert_array_equal(datasets.load(config, "test")[2]["label"], expected(8) > 0)
    example = augment(train[0], np.random.default_rng(0))
    assert (example["image"].shape, example["label"].shape) == ((HEIGHT, WIDTH, 3), (HEIGHT, WIDTH))


def tiny_config(self, **fields) -> None:
    dataclasses_init(self, **{**fields, "num_train": 6, "num_test": 3})


dataclasses_init = CelebaMaskHqConfig.__init__


def test_a_missing_download_says_where_to_get_it(tmp_path):
    config = config_dict(tmp_path, name="ade20k", num_labels=151)
    with pytest.raises(FileNotFoundError, match=r"(?s)downloads/manual.*ADEChallengeData2016\.zip"):
        datasets.prepare(config)


def test_what_a_killed_preparation_left_is_named(tmp_path, caplog):
    leftover = tmp_path / "ade20k" / "challenge2016" / "incomplete.ABCDEF_1.0.0"
    leftover.mkdir(parents=True)
    config = config_dict(tmp_path, name="ade20k", num_labels=151)
    with pytest.raises(FileNotFoundError):
        datasets.prepare(config)
    assert f"{leftover} is left of a killed preparation" in caplog.text


def test_ade20k_is_cropped_to_train_and_its_centre_evaluated(tmp_path, monkeypatch):
    ade20k_download.write_download(tmp_path)
    monkeypatch.setattr(Ade20k, "BUILDER_CONFIGS", [ade20k_download.TINY])
    monkeypatch.setattr(Ade20k, "builder_configs", {"tiny": ade20k_download.TINY})
    config = ade20k.get_config().data
    config.update({"directory": str(tmp_path / "data"), "manual_dir": str(tmp_path)})
    datasets.prepare(config)
    source, crop = datasets.load_for_training(config)
    assert source[0]["image"].shape == (20, 30, 3), "at its own size, before the augmentation"
    assert source[0]["label"].max() == 150
    cropped = [crop(source[0], np.random.default_rng(i))["image"] for i in range(4)]
    assert all(image.shape == (256, 256, 3) for image in cropped)
    assert not np.array_equal(cropped[0], cropped[1])
    example = datasets.load(config, "test")[0]
    expected = ade20k_download.labels_of(0, "validation")[:, 5:25]
    np.testing.assert_array_equal(example["label"], resize_nearest(expected, 256, 256))


def test_idesigner_merges_the_labels_of_the_human_parser(tmp_path):
    """LIP's 20 labels: background, face with hat, hair and sunglasses, and the body."""
    parsed = np.arange(20, dtype=np.uint8).repeat(17).reshape(1, 340).repeat(512, axis=0)
    for split in ("train", "test"):
        write(tmp_path, "a.jpg", np.zeros((512, 340, 3), np.uint8), parsed, split)
    config = idesigner.get_config().data
    config.directory = str(tmp_path)
    datasets.prepare(config)
    example = datasets.load(config, "test")[0]
    assert example["image"].shape == (256, 170, 3)
    face = [1, 2, 4, 13]
    merged = [0 if lip == 0 else 1 if lip in face else 2 for lip in parsed[0, ::2]]
    np.testing.assert_array_equal(example["label"], np.tile(merged, (256, 1)))


@pytest.mark.parametrize(
    "name", sorted({file.stem for file in CONFIGS.glob("*.py")} - {"__init__", "common"})
)
def test_every_experiment_is_one_that_can_be(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    validation.validate(config)
    datasets.check(config.data)
