"""Photos and label maps of every kind: each works, or is an error that says what to do."""

import os
import pathlib
import unicodedata

import numpy as np
import pytest
from helpers.tiff import save_tiff
from ml_collections import ConfigDict
from PIL import Image

from data.folder import FolderSource
from scam_jax.inference import decoding, photos
from scam_jax.inference.label_map import LabelMap

HEIGHT, WIDTH, NUM_LABELS = 12, 8, 5
ORIENTATION = 0x0112


@pytest.fixture
def pair(tmp_path) -> tuple[pathlib.Path, pathlib.Path]:
    """A photo and its label map, both 12×8."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = random.integers(0, NUM_LABELS, (HEIGHT, WIDTH), dtype=np.uint8)
    files = tmp_path / "a photo.png", tmp_path / "its labels.png"
    for file, pixels in zip(files, (image, labels), strict=True):
        Image.fromarray(pixels).save(file)
    return files


def read(pair, label_map="", num_labels=NUM_LABELS):
    """Image and labels."""
    found = photos.read_pair(*pair, LabelMap(label_map, num_labels))
    return found.image, found.labels


def pixels(file: pathlib.Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_a_pair_is_read_as_it_is(pair):
    image, labels = read(pair)
    assert (image.dtype, labels.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(image, pixels(pair[0]))
    np.testing.assert_array_equal(labels, pixels(pair[1]))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "CMYK"])
def test_images_of_any_mode_become_rgb(pair, mode):
    suffix = ".jpg" if mode in ("L", "CMYK") else ".png"
    file = pair[0].with_suffix(suffix)
    Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255)).convert(mode).save(file)
    image, _ = read((file, pair[1]))
    assert image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(image, 255)


def test_sixteen_bit_grey_images_are_scaled(pair):
    Image.fromarray(np.full((HEIGHT, WIDTH), 0x80FF, np.uint16)).save(pair[0])
    np.testing.assert_array_equal(read(pair)[0], 0x80)


def test_a_value_without_a_label_names_the_file_and_the_remedy(pair):
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(pair[1])
    with pytest.raises(ValueError, match=r"its labels\.png .* 7.*num_labels.* 8"):
        read(pair)


def test_masks_of_0_and_255_are_an_error_until_they_are_mapped(pair):
    mask = ((pixels(pair[1]) > 2) * 255).astype(np.uint8)
    Image.fromarray(mask).save(pair[1])
    with pytest.raises(ValueError, match=r"its labels\.png .*255.*label_map.*0\|255"):
        read(pair, num_labels=2)
    np.testing.assert_array_equal(read(pair, "0|255", 2)[1], mask > 0)


@pytest.mark.parametrize("which", ["jpeg", "png", "labels"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_file(pair, which, damage):
    if which == "jpeg":
        pair = pair[0].with_suffix(".jpg"), pair[1]
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
            pair[0]
        )
    file = pair[1 if which == "labels" else 0]
    content = file.read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "empty": b"", "text": b"not a picture"}
    file.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=rf"cannot read .*{file.name} .*: replace or remove it"):
        read(pair)


def test_label_map_of_another_size_is_resized_to_the_photo_nearest(pair):
    row = np.arange(5, dtype=np.uint8)
    Image.fromarray(np.tile(row, (6, 1))).save(pair[1])
    _, labels = read(pair)
    assert labels.shape == (HEIGHT, WIDTH)
    # Source index floor(dst · 5 / 8): the last is not rounded up.
    np.testing.assert_array_equal(labels, np.tile([0, 0, 1, 1, 2, 3, 3, 4], (HEIGHT, 1)))
    assert photos.compare(*pair) == "misshapen"


def save_turned(file: pathlib.Path, image: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(image).save(file, exif=exif)


# What a viewer does with the stored pixels of each orientation (EXIF 2.3, section 4.6.4).
UPRIGHT = {
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("labels_are", ["stored", "upright"])
def test_a_photo_turned_by_exif_and_its_labels_come_out_upright(pair, orientation, labels_are):
    image, labels = pixels(pair[0]), pixels(pair[1])
    turn = UPRIGHT[orientation]
    save_turned(pair[0], image, orientation)
    if labels_are == "upright":
        Image.fromarray(np.ascontiguousarray(turn(labels))).save(pair[1])
    assert photos.compare(*pair) == "same"
    read_image, read_labels = read(pair)
    np.testing.assert_array_equal(read_image, turn(image))
    np.testing.assert_array_equal(read_labels, turn(labels))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("labels_are", ["stored", "upright"])
def test_a_turned_tiff_is_read_as_other_turned_photos(pair, orientation, labels_are):
    image, labels = pixels(pair[0]), pixels(pair[1])
    turn, tiff = UPRIGHT[orientation], pair[0].with_suffix(".tif")
    save_turned(tiff, image, orientation)
    if labels_are == "upright":
        Image.fromarray(np.ascontiguousarray(turn(labels))).save(pair[1])
    assert photos.compare(tiff, pair[1]) == "same"
    read_image, read_labels = read((tiff, pair[1]))
    np.testing.assert_array_equal(read_image, turn(image))
    np.testing.assert_array_equal(read_labels, turn(labels))
    np.testing.assert_array_equal(photos.read_photo(tiff), turn(image))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_turned_tiff_of_any_mode(tmp_path, mode, orientation):
    """Pillow reads some modes straight from the file, whose rows are the stored ones."""
    grey = np.arange(60, dtype=np.uint8).reshape(6, 10)
    stored = Image.fromarray(grey.astype(np.uint16) << 8 if mode == "I;16" else grey)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.convert(mode).save(tmp_path / "turned.tif", exif=exif)
    stored.convert(mode).save(tmp_path / "stored.tif")
    plain = photos.read_photo(tmp_path / "stored.tif")
    turned = photos.read_photo(tmp_path / "turned.tif")
    np.testing.assert_array_equal(turned, UPRIGHT[orientation](plain))


def test_a_tiff_upside_down_does_not_tell_how_its_labels_lie(pair):
    tiff = pair[0].with_suffix(".tif")
    save_turned(tiff, pixels(pair[0]), 3)
    with pytest.raises(ValueError, match="does not tell whether its labels are turned"):
        read((tiff, pair[1]))


@pytest.mark.parametrize(("orientation", "size"), [(3, (12, 8)), (2, (12, 8)), (6, (8, 8))])
def test_where_the_shape_does_not_tell_how_the_labels_lie_it_is_an_error(pair, orientation, size):
    save_turned(pair[0], np.zeros((*size, 3), np.uint8), orientation)
    Image.fromarray(np.zeros(size, np.uint8)).save(pair[1])
    message = rf"a photo\.png says .*orientation {orientation}.*its labels\.png does not tell.*save"
    with pytest.raises(ValueError, match=message):
        read(pair)


def test_a_label_map_of_a_third_shape_does_not_tell_either(pair):
    save_turned(pair[0], pixels(pair[0]), 6)
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(pair[1])
    with pytest.raises(ValueError, match="does not tell whether its labels are turned"):
        read(pair)


def test_orientation_1_and_nonsense_leave_the_pixels_alone(pair):
    image = pixels(pair[0])
    for orientation in (1, 0, 99):
        save_turned(pair[0], image, orientation)
        np.testing.assert_array_equal(read(pair)[0], image)


def test_names_with_spaces_and_accents_and_links(pair, tmp_path):
    """Composed and decomposed spellings of a name are the same name."""
    for kind, file, name in (
        ("images", pair[0], unicodedata.normalize("NFD", "Zoë im Café")),
        ("labels", pair[1], unicodedata.normalize("NFC", "Zoë im Café")),
    ):
        (tmp_path / "train" / kind).mkdir(parents=True)
        os.symlink(file, tmp_path / "train" / kind / f"{name}.png")
    source = FolderSource(tmp_path, "train", LabelMap("", NUM_LABELS))
    assert len(source) == 1
    np.testing.assert_array_equal(source[0]["image"], pixels(pair[0]))
    np.testing.assert_array_equal(source[0]["label"], pixels(pair[1]))


def test_a_link_to_nothing_says_so(pair):
    target = pair[0].with_name("moved.png")
    pair[0].rename(target)
    pair[0].symlink_to(target)
    target.unlink()
    with pytest.raises(ValueError, match=r"a photo\.png links to .*moved\.png, which is not there"):
        read(pair)


def transparent(mode: str) -> Image.Image:
    """Black; its left half is wholly transparent, its right half opaque."""
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, WIDTH // 2 :] = 255
    black = np.zeros_like(alpha)
    if mode == "P":
        picture = Image.fromarray(alpha // 255)
        picture.putpalette([0] * 6)
        picture.info["transparency"] = 0
        return picture
    if mode == "I;16":
        picture = Image.fromarray(np.where(alpha, 0, 7).astype(np.uint16))
        picture.info["transparency"] = 7
        return picture
    channels = (black, black, black, alpha) if mode == "RGBA" else (black, alpha)
    return Image.fromarray(np.stack(channels, -1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_transparent_pixels_lie_on_white_and_are_counted(pair, mode, caplog):
    picture = transparent(mode)
    picture.save(pair[0], transparency=picture.info.get("transparency"))
    found = photos.read_pair(*pair, LabelMap("", NUM_LABELS))
    np.testing.assert_array_equal(found.image[:, : WIDTH // 2], 255)
    np.testing.assert_array_equal(found.image[:, WIDTH // 2 :], 0)
    assert found.transparent == HEIGHT * WIDTH // 2
    photos.read_picture(*pair, data())
    assert "a photo.png is transparent at 48 of 96 pixels: they are read as on white" in caplog.text


def test_half_transparent_pixels_are_blended_with_white(pair):
    Image.new("RGBA", (WIDTH, HEIGHT), (0, 100, 200, 128)).save(pair[0])
    expected = [round(255 + (value - 255) * 128 / 255) for value in (0, 100, 200)]
    assert abs(read(pair)[0].astype(int) - expected).max() <= 1


def test_opaque_photos_with_an_alpha_channel_are_read_without_a_word(pair, caplog):
    image = pixels(pair[0])
    Image.fromarray(image).convert("RGBA").save(pair[0])
    np.testing.assert_array_equal(photos.read_picture(*pair, data()).image, image)
    assert not caplog.text


def data(**values) -> ConfigDict:
    fixed = {"label_map": "", "num_labels": NUM_LABELS, "augmentation": "none"}
    return ConfigDict({"height": HEIGHT, "width": WIDTH, **fixed, **values})


def test_a_label_map_of_another_shape_is_said(pair, caplog):
    Image.fromarray(pixels(pair[1])[: HEIGHT // 2]).save(pair[1])
    assert photos.compare(*pair) == "misshapen"
    photos.read_picture(*pair, data())
    assert "its labels.png has the shape 6×8, but" in caplog.text


def test_a_label_map_of_half_the_size_is_no_other_shape(pair, caplog):
    Image.fromarray(pixels(pair[1])[::2, ::2]).save(pair[1])
    photos.read_picture(*pair, data())
    assert not caplog.text


def test_grey_photos_whose_white_is_unknown_are_refused(pair):
    for numbers in (np.array([[0.0, 1.0]], np.float32), np.array([[0, 70_000]], np.int32)):
        save_tiff(pair[0], numbers)
        with pytest.raises(
            ValueError, match=r"a photo\.png has grey values 0 … .*white is unknown"
        ):
            read(pair)


def test_a_picture_too_large_for_memory_is_refused_before_it_is_decoded(pair, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(
        ValueError, match=r"cannot read .*a photo\.png \(more than .*make it smaller"
    ):
        read(pair)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_a_path_that_is_no_file(pair, kind):
    pair[0].unlink()
    message = {
        "missing": r"there is no file .*a photo\.png: correct the path",
        "folder": r"cannot read .*a photo\.png \(it is a folder\)",
        "pipe": r"cannot read .*a photo\.png \(it is neither a file nor a folder\)",
    }[kind]
    if kind == "folder":
        pair[0].mkdir()
    if kind == "pipe":
        os.mkfifo(pair[0])
    with pytest.raises(ValueError, match=message):
        read(pair)


def test_names_of_any_bytes_are_shown_in_one_line_of_text():
    name = os.fsdecode(b"a\xe9\n\xc3\xa9.png")
    assert decoding.printable(name) == "a\\xe9\\né.png"
    decoding.printable(name).encode()
