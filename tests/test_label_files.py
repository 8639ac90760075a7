"""Label maps as files: their numbers as they stand there, or an error that says what to do."""

import pathlib
import struct
import zlib

import numpy as np
import pytest
from helpers.tiff import save_tiff
from PIL import Image

from scam_jax.inference import label_files

HEIGHT, WIDTH, NUM_LABELS = 12, 8, 5


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    """A label map."""
    file = tmp_path / "its labels.png"
    numbers = np.random.default_rng(0).integers(0, NUM_LABELS, (HEIGHT, WIDTH), dtype=np.uint8)
    Image.fromarray(numbers).save(file)
    return file


def pixels(file: pathlib.Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_palette_label_maps_give_their_indices(file):
    indices = pixels(file)
    picture = Image.fromarray(indices)
    # Colours that would be other numbers if they were read as grey.
    picture.putpalette([200, 10, 10, 0, 250, 0, 90, 90, 250, 7, 7, 7, 255, 255, 255])
    picture.save(file)
    assert Image.open(file).mode == "P"
    np.testing.assert_array_equal(label_files.read_numbers(file), indices)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_keeps_its_numbers(file, bits):
    """Optimizers of PNG files write label maps of few labels like this."""
    numbers = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % min(5, 2**bits)
    packed = np.packbits(
        np.unpackbits(numbers[..., None], axis=2)[:, :, -bits:].reshape(HEIGHT, -1), 1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert Image.open(file).mode == "L"
    np.testing.assert_array_equal(label_files.read_numbers(file), numbers)


def test_one_bit_label_maps_are_zeros_and_ones(file):
    Image.fromarray(pixels(file) > 2).save(file)
    assert Image.open(file).mode == "1"
    assert set(np.unique(label_files.read_numbers(file))) == {0, 1}


def test_sixteen_bit_label_maps_are_read_if_their_values_fit(file):
    Image.fromarray(np.full((HEIGHT, WIDTH), NUM_LABELS - 1, np.uint16)).save(file)
    np.testing.assert_array_equal(label_files.read_numbers(file), NUM_LABELS - 1)
    Image.fromarray(np.full((HEIGHT, WIDTH), 260, np.uint16)).save(file)
    with pytest.raises(ValueError, match=r"its labels\.png holds the value 260: correct it"):
        label_files.read_numbers(file)


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        (np.array([[0, -3]], np.int32), "the value -3: correct it"),
        (np.array([[-1, 4]], np.int8), "the value -1: correct it"),
        (np.array([[-2, 256, 3]], np.int16), "the values -2, 256: correct them"),
        (np.array([[2**32 - 1, 0]], np.uint32), "the value 4294967295: correct it"),
        (np.array([[0.5, 1]], np.float32), r"the value 0\.5: .* are whole and 0 … 255"),
        (np.array([[np.nan, 1]], np.float32), "the value nan: correct it"),
    ],
)
def test_numbers_that_a_byte_cannot_hold_are_named_as_they_stand_in_the_file(file, numbers, shown):
    save_tiff(file, numbers)
    with pytest.raises(ValueError, match=rf"its labels\.png holds {shown}"):
        label_files.read_numbers(file)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.float32])
def test_whole_numbers_of_any_type_are_read(file, dtype):
    numbers = pixels(file)
    save_tiff(file, numbers.astype(dtype))
    np.testing.assert_array_equal(label_files.read_numbers(file), numbers)


LOSSY = {
    "JPEG": {"format": "JPEG"},
    "WEBP": {"format": "WEBP"},
    "JPEG2000": {"format": "JPEG2000"},
    "TIFF with JPEG": {"format": "TIFF", "compression": "jpeg"},
}


@pytest.mark.parametrize("stored_as", LOSSY)
def test_a_label_map_of_a_format_that_changes_numbers_is_refused_by_its_content(file, stored_as):
    Image.fromarray(pixels(file)).save(file, **LOSSY[stored_as])
    message = rf"its labels\.png is stored as {stored_as}.*change label numbers.* save it as PNG"
    for reading in (label_files.read_numbers, label_files.header):
        with pytest.raises(ValueError, match=message):
            reading(file)


def test_a_tiff_of_inverted_numbers_is_refused(file):
    Image.fromarray(pixels(file)).save(file, format="TIFF", tiffinfo={262: 0})
    with pytest.raises(ValueError, match="stored as TIFF with white as 0"):
        label_files.read_numbers(file)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_label_map_with_colours(file, mode):
    Image.new(mode, (4, 4)).save(file)
    with pytest.raises(ValueError, match=rf"labels\.png has colour.*mode {mode}\): save it as a"):
        label_files.read_numbers(file)
