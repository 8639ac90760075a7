"""The folder layout: what is read, and what each mistake is answered with."""

import pathlib
import shutil

import ml_collections
import numpy as np
import pytest
from PIL import Image

from data import datasets
from data.folder import FolderSource

HEIGHT, WIDTH, NUM_LABELS = 12, 8, 5


def write(root: pathlib.Path, name: str, image: np.ndarray, label: np.ndarray, split="train"):
    for kind, file, pixels in (("images", name, image), ("labels", f"{name[:-4]}.png", label)):
        folder = root / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / file)


@pytest.fixture
def root(tmp_path):
    """Three pairs in each split, of other sizes than asked for."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("b.png", "a.jpg", "c.png"):
            image = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
            label = rng.integers(0, NUM_LABELS, (15, 10), dtype=np.uint8)
            write(tmp_path, name, image, label, split)
    return tmp_path


def source(root: pathlib.Path, split="train", height=HEIGHT, width=WIDTH) -> FolderSource:
    return FolderSource(root, split, height, width, NUM_LABELS)


def labels_of(root: pathlib.Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(root / "train" / "labels" / f"{name}.png"))


def test_reads_pairs_in_the_order_of_their_names(root):
    pairs = source(root)
    assert len(pairs) == 3
    for pair, name in zip([pairs[0], pairs[1], pairs[2]], "abc", strict=True):
        assert (pair["image"].shape, pair["image"].dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
        assert (pair["label"].shape, pair["label"].dtype) == ((HEIGHT, WIDTH), np.uint8)
        rows, columns = np.arange(HEIGHT) * 15 // HEIGHT, np.arange(WIDTH) * 10 // WIDTH
        np.testing.assert_array_equal(pair["label"], labels_of(root, name)[rows][:, columns])


def test_pictures_of_the_right_size_are_left_as_they_are(root):
    image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    label = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % NUM_LABELS
    write(root, "d.png", image, label)
    np.testing.assert_array_equal(source(root)[3]["image"], image)
    np.testing.assert_array_equal(source(root)[3]["label"], label)


def test_images_are_resized_with_antialiasing(root):
    stripes = np.zeros((HEIGHT * 4, WIDTH * 4, 3), np.uint8)
    stripes[::2] = 255
    write(root, "d.png", stripes, np.zeros((1, 1), np.uint8))
    inner = source(root)[3]["image"][2:-2]
    assert inner.min() > 110
    assert inner.max() < 145


def test_the_last_pixel_of_an_uneven_resize_is_not_rounded_up(root):
    label = np.tile(np.arange(5, dtype=np.uint8), (5, 1))
    write(root, "d.png", np.zeros((5, 5, 3), np.uint8), label)
    row = source(root, width=8)[3]["label"][0]
    np.testing.assert_array_equal(row, [0, 0, 1, 1, 2, 3, 3, 4])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "CMYK"])
def test_images_of_any_mode_become_rgb(root, mode):
    picture = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255)).convert(mode)
    picture.save(root / "train" / "images" / ("a.jpg" if mode in ("L", "CMYK") else "b.png"))
    index = 0 if mode in ("L", "CMYK") else 1
    np.testing.assert_array_equal(source(root)[index]["image"], 255)


def test_sixteen_bit_gray_images_are_scaled(root):
    gray = np.full((HEIGHT, WIDTH), 0x80FF, np.uint16)
    Image.fromarray(gray).save(root / "train" / "images" / "b.png")
    np.testing.assert_array_equal(source(root)[1]["image"], 0x80)


def test_palette_label_maps_give_their_indices(root):
    indices = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % NUM_LABELS
    picture = Image.fromarray(indices).convert("P")
    picture.putdata(indices.ravel())
    picture.putpalette([200, 10, 10, 0, 250, 0, 90, 90, 250, 7, 7, 7, 255, 255, 255])
    picture.save(root / "train" / "labels" / "a.png")
    np.testing.assert_array_equal(source(root)[0]["label"], indices)


def test_sixteen_bit_label_maps_are_read_if_their_values_fit(root):
    labels = np.full((HEIGHT, WIDTH), NUM_LABELS - 1, np.uint16)
    file = root / "train" / "labels" / "a.png"
    Image.fromarray(labels).save(file)
    np.testing.assert_array_equal(source(root)[0]["label"], NUM_LABELS - 1)
    Image.fromarray(labels + 256).save(file)
    with pytest.raises(ValueError, match=r"a\.png holds the value 260.*num_labels=5.*correct"):
        source(root)[0]


def test_label_value_out_of_range(root):
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(root / "train" / "labels" / "b.png")
    with pytest.raises(ValueError, match=r"b\.png holds the value 7, .*num_labels=5: .*least 8"):
        source(root)[1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_label_map_with_colours(root, mode):
    Image.new(mode, (4, 4)).save(root / "train" / "labels" / "b.png")
    with pytest.raises(ValueError, match=rf"b\.png has colour.*mode {mode}\): save it as a single"):
        source(root)[1]


@pytest.mark.parametrize("file", ["images/a.jpg", "images/b.png", "labels/b.png"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_file(root, file, damage):
    path = root / "train" / file
    content = path.read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "empty": b"", "text": b"not a picture"}
    path.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=rf"cannot read .*{path.name} .*: replace or remove it"):
        source(root)["ab".index(path.stem)]


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


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 8, 5), r"0×8: height and width must be at least 1"),
        ((8, 8, 300), r"num_labels=300: must be 1 … 256"),
    ],
)
def test_numbers_out_of_range(root, numbers, message):
    with pytest.raises(ValueError, match=message):
        FolderSource(root, "train", *numbers)


def test_a_configuration_loads_a_folder(root):
    config = ml_collections.ConfigDict(
        {"name": "folder", "directory": str(root), "height": 6, "width": 9, "num_labels": 5}
    )
    datasets.prepare(config)
    assert datasets.load(config, "test")[2]["image"].shape == (6, 9, 3)
    assert datasets.load_transfers(config) is None
    (root / "test" / "labels" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images in .*test/images have no label"):
        datasets.prepare(config)
