"""The folder layout: reading pairs, and the message for each mistake."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from helpers import small_folder
from helpers.small_folder import NUM_LABELS, labels_of
from PIL import Image

from data.folder import FolderSource
from scam_jax.inference.label_map import LabelMap


@pytest.fixture
def root(tmp_path):
    small_folder.make(tmp_path)
    return tmp_path


def source(root: pathlib.Path, split="train") -> FolderSource:
    return FolderSource(root, split, LabelMap("", NUM_LABELS))


def test_reads_pairs_in_the_order_of_their_names(root):
    pairs = source(root)
    assert len(pairs) == 3
    for pair, name in zip([pairs[0], pairs[1], pairs[2]], "abc", strict=True):
        assert (pair["image"].shape, pair["image"].dtype) == ((30, 20, 3), np.uint8)
        assert (pair["label"].shape, pair["label"].dtype) == ((30, 20), np.uint8)
        # A label map of half the size: every value twice in each direction.
        doubled = labels_of(root, name).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(pair["label"], doubled)


@pytest.mark.parametrize("missing", ["", "train", "train/images", "train/labels"])
def test_missing_folder(root, missing):
    shutil.rmtree(root / missing)
    message = rf"no folder {root / missing}; expected .train,test./images/NAME.* in {root}"
    with pytest.raises(FileNotFoundError, match=message):
        source(root)


def test_no_images(root):
    for kind in ("images", "labels"):
        shutil.rmtree(root / "train" / kind)
        (root / "train" / kind).mkdir()
    with pytest.raises(FileNotFoundError, match=r"train/images holds no images; expected"):
        source(root)


def test_images_without_label_maps(root):
    for name in ("a", "c"):
        (root / "train" / "labels" / f"{name}.png").unlink()
    message = r"2 of 3 images in .*train/images have no label map: a, c; add .*labels/a\.png"
    with pytest.raises(FileNotFoundError, match=message):
        source(root)


def test_label_maps_without_image(root):
    for index in range(9):
        Image.new("L", (2, 2)).save(root / "train" / "labels" / f"x{index}.png")
    message = r"9 of 12 label maps in .* have no image: x0, x1, x2, x3, x4, …; add .*images/x0"
    with pytest.raises(FileNotFoundError, match=message):
        source(root)


def test_two_images_of_one_name(root):
    Image.new("RGB", (2, 2)).save(root / "train" / "images" / "a.png")
    with pytest.raises(ValueError, match=r"a\.jpg and a\.png share the name 'a': rename or remove"):
        source(root)


@pytest.mark.parametrize("file", ["images/a.webp", "labels/a.jpg"])
def test_file_of_another_kind(root, file):
    (root / "train" / file).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{file} is not a .*png file: convert it, or move it"):
        source(root)


def test_hidden_files_and_large_suffixes_are_no_obstacle(root):
    (root / "train" / "images" / ".DS_Store").write_bytes(b"")
    (root / "train" / "images" / "a.jpg").rename(root / "train" / "images" / "a.JPG")
    assert len(source(root)) == 3


def test_nothing_left_to_train_on(root):
    with pytest.raises(
        FileNotFoundError, match=r"all 3 pairs of .*train are skipped: none is left"
    ):
        FolderSource(root, "train", LabelMap("", NUM_LABELS), skip={"a", "b", "c"})


def test_label_maps_that_cannot_hold_numbers_are_refused_by_their_headers(root):
    labels = root / "train" / "labels" / "b.png"
    Image.open(labels).save(labels, format="JPEG")
    with pytest.raises(ValueError, match=r"b\.png is stored as JPEG"):
        source(root).compare_sizes()
    Image.new("RGB", (2, 2)).save(labels)
    with pytest.raises(ValueError, match=r"b\.png has colour"):
        source(root).compare_sizes()


def test_names_by_the_relation_of_their_sizes(root):
    small_folder.write(root, "d.png", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))
    small_folder.write(root, "e.png", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 4), np.uint8))
    expected = {"same": ["d"], "resized": ["a", "b", "c"], "misshapen": ["e"]}
    assert source(root).compare_sizes() == expected


SYSTEM = ["Thumbs.db", "desktop.ini", ".DS_Store", "._a.jpg", "Icon\r"]
SYSTEM_FOLDERS = ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX"]


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_what_systems_leave_in_folders_is_passed_over(root, kind):
    for name in SYSTEM:
        (root / "train" / kind / name).write_bytes(b"")
    for name in [*SYSTEM_FOLDERS, "lost+found", ".Spotlight-V100"]:
        (root / "train" / kind / name).mkdir()
    assert len(source(root)) == 3


@pytest.mark.parametrize("name", ["sub", "more.png", "images"])
def test_a_folder_among_the_pictures_is_called_a_folder(root, name):
    (root / "train" / "labels" / name).mkdir()
    message = rf"labels/{name} is a folder, but pictures must lie directly in .*train/labels: move"
    with pytest.raises(ValueError, match=message):
        source(root)


def test_a_pipe_among_the_pictures_is_not_read(root):
    os.mkfifo(root / "train" / "images" / "pipe.jpg")
    with pytest.raises(ValueError, match=r"images/pipe\.jpg is neither a file nor a folder: move"):
        source(root)


def test_a_link_to_nothing_is_skipped_like_other_bad_files(root):
    (root / "train" / "images" / "c.png").unlink()
    (root / "train" / "images" / "c.png").symlink_to(root / "nothing.png")
    before = source(root).contents()
    (fault,) = source(root).find_bad().values()
    assert "c.png links to" in fault
    assert source(root).contents() == before


def test_names_that_are_no_utf_8_are_read_and_shown(root):
    for kind, suffix in (("images", b".jpg"), ("labels", b".png")):
        folder = os.fsencode(root / "train" / kind)
        shutil.copy(folder + b"/a" + suffix, folder + b"/\xe9" + suffix)
    pairs = source(root)
    np.testing.assert_array_equal(pairs.read("\\xe9")["image"], pairs.read("a")["image"])
    pathlib.Path(os.fsdecode(folder + b"/\xe9.png")).write_bytes(b"")
    (fault,) = source(root).find_bad().values()
    assert fault.endswith("labels/\\xe9.png (it is empty): replace or remove it")
    assert fault.encode()
