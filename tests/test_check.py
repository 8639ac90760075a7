"""The checker: its counts, faults, warnings, picture, text and exit status."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

from data.checker import __main__ as command
from data.checker import findings
from scam_jax import images

HEIGHT, WIDTH = 20, 30
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def unparsed_flags():
    """Undoes what the command's parser marks in absl's flags, which all tests share."""
    yield
    flags.FLAGS.unparse_flags()


def check(*arguments: str) -> int:
    """Runs the command; returns its exit status."""
    try:
        return command.main(command.parse(["data.checker", *arguments]))
    except SystemExit as end:
        return end.code


def write(root: pathlib.Path, split: str, name: str, labels, size=(HEIGHT, WIDTH)) -> None:
    """A photo of noise, another for every name and split, and its label map."""
    rng = np.random.default_rng(list(f"{split}/{name}".encode()))
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for kind, file, pixels in (("images", f"{name}.jpg", image), ("labels", f"{name}.png", labels)):
        folder = root / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels, np.uint8)).save(folder / file)


def halves(left: int, right: int) -> np.ndarray:
    labels = np.full((HEIGHT, WIDTH), left, np.uint8)
    labels[:, WIDTH // 2 :] = right
    return labels


@pytest.fixture
def root(tmp_path):
    """Two sound pairs in train and one in test, of labels 0, 1 and 2."""
    root = tmp_path / "my photos"
    write(root, "train", "a", halves(0, 1))
    write(root, "train", "größe 写真", halves(0, 2))
    write(root, "test", "c", halves(0, 1))
    return root


@pytest.fixture
def run(root, tmp_path, capsys):
    """Runs the check of `root`; returns its exit status and its lines."""

    def run(*flags: str) -> tuple[int, list[str]]:
        status = check(str(root), f"--output={tmp_path / 'check.png'}", *flags)
        return status, capsys.readouterr().out.splitlines()

    return run


def entries(lines: list[str], title: str) -> list[str]:
    """The entries of the warnings or the faults."""
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{title}: "))
    end = lines.index("", start)
    assert lines[start] == f"{title}: {end - start - 1}"
    return lines[start + 1 : end]


def test_a_sound_folder(root, run):
    status, lines = run()
    assert status == 0
    assert lines[-1] == (
        f"No faults: train with --config.data.directory='{root}' --config.data.num_labels=3"
    )
    assert entries(lines, "Warnings") == entries(lines, "Faults") == []
    assert "  20×30: 3" in lines
    table = [line.split() for line in lines[lines.index("") :] if line[:7].strip().isdigit()]
    assert table == [
        ["0", "50.00%", "2", "50.00%", "1"],
        ["1", "25.00%", "1", "50.00%", "1"],
        ["2", "25.00%", "1", "–", "0"],
    ]
    assert any("train/a" in line and "train/größe 写真" in line for line in lines)


def test_the_picture_has_the_colours_of_the_labels(run, tmp_path):
    run()
    with Image.open(tmp_path / "check.png") as picture:
        colours, counts = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_counts=True)
    found = {tuple(colour): count for colour, count in zip(colours.tolist(), counts, strict=True)}
    # A label fills half a tile of 192×128 in each photo that contains it, and a legend's square.
    half = 192 * 128 // 2
    for label, photos in enumerate((3, 2, 1)):
        colour = tuple(images.palette(3)[label].tolist())
        assert half * photos < found[colour] < half * photos + 500


def test_the_label_map_is_applied(run):
    status, lines = run("--label_map=0|*", "--num_labels=2")
    assert status == 0
    assert lines[-1].endswith(" --config.data.label_map='0|*' --config.data.num_labels=2")
    assert any(line.split() == ["1", "50.00%", "2", "50.00%", "1"] for line in lines)
    assert run("--label_map=0|*")[1] == lines


def test_every_fault_is_listed_at_once(root, run):
    for name in ("cut", "empty", "colour", "high", "both", "link", "alone", "c"):
        write(root, "test", name, halves(0, 7 if name == "high" else 1))
    test = root / "test"
    cut = (test / "images/cut.jpg").read_bytes()
    for name in ("cut", "both"):
        (test / f"images/{name}.jpg").write_bytes(cut[: len(cut) // 2])
    for name in ("empty", "both"):
        (test / f"labels/{name}.png").write_bytes(b"")
    Image.new("RGBA", (WIDTH, HEIGHT)).save(test / "labels/colour.png")
    (test / "images/link.jpg").unlink()
    (test / "images/link.jpg").symlink_to("nowhere.jpg")
    (test / "labels/alone.png").unlink()
    (test / "images/d.webp").write_bytes(b"")
    status, lines = run("--num_labels=3")
    assert status == 1
    faults = entries(lines, "Faults")
    for file, message in (
        ("images/cut.jpg", "cannot read"),
        ("images/both.jpg", "cannot read"),
        ("labels/both.png", "it is empty"),
        ("labels/empty.png", "it is empty"),
        ("labels/colour.png", "mode RGBA"),
        ("labels/high.png", "holds the value 7"),
        ("images/link.jpg", "nowhere.jpg, which is not there"),
        ("images", "have no label map: alone"),
        ("images/d.webp", "is not a .jpg"),
    ):
        assert sum(f"test/{file} " in fault and message in fault for fault in faults) == 1, file
    assert len(faults) == 9
    assert lines[-1] == "9 faults: fix them."
    assert any(line.split() == ["test", "7", "(1", "usable)"] for line in lines)
    assert any("train/a" in line and "test/c" in line for line in lines)
    for file in ("images/d.webp", "images/link.jpg", "labels/link.png", "images/alone.jpg"):
        (test / file).unlink()
    last = run("--num_labels=3")[1][-1]
    assert last.startswith("6 faults: fix them, or set --config.data.skip_bad_files=True ")


def test_a_label_lost_in_resizing_is_still_a_fault(root, run):
    labels = np.zeros((HEIGHT * 3, WIDTH * 3), np.uint8)
    labels[0, 0] = 9
    write(root, "train", "large", labels)
    status, lines = run("--num_labels=3")
    assert status == 1
    assert "large.png holds the value 9" in entries(lines, "Faults")[0]


@pytest.mark.parametrize("missing", ["train", "test", "test/labels"])
def test_missing_folder(root, run, missing):
    shutil.rmtree(root / missing)
    status, lines = run()
    assert status == 1
    (fault,) = entries(lines, "Faults")
    assert f"there is no folder {root / missing}" in fault
    assert lines[-1].startswith("1 fault: ")


def test_nothing_to_draw(root, run, tmp_path):
    for split in ("train", "test"):
        shutil.rmtree(root / split)
    status, lines = run()
    assert status == 1
    assert len(entries(lines, "Faults")) == 2
    assert not (tmp_path / "check.png").exists()


def test_black_and_white_label_maps(root, run):
    for split, name in (("train", "a"), ("train", "größe 写真"), ("test", "c")):
        write(root, split, name, halves(0, 255))
    (warning,) = entries(run()[1], "Warnings")
    assert "--config.data.label_map='0|255' --config.data.num_labels=2" in warning
    assert "label_map='0|255'" in entries(run("--num_labels=2")[1], "Faults")[0]
    status, lines = run("--label_map=0|255")
    assert (status, entries(lines, "Warnings")) == (0, [])


def test_labels_that_training_never_sees(root, run):
    write(root, "test", "d", halves(3, 5))
    write(root, "validation", "e", halves(3, 4))
    warnings = entries(run()[1], "Warnings")
    assert any("in test but never in train" in w and w.endswith(": labels 3, 5") for w in warnings)
    assert any(
        "in validation but never in train" in w and w.endswith(": labels 3–4") for w in warnings
    )


def test_gaps_in_the_label_numbers(root, run):
    write(root, "train", "d", halves(6, 9))
    (warning,) = entries(run()[1], "Warnings")
    assert "never used, of labels 0–9: labels 3–5, 7–8;" in warning
    assert "--config.data.label_map='0|1|2|6|9' --config.data.num_labels=5" in warning
    (root / "train" / "images" / "e.webp").write_bytes(b"")
    (warning,) = entries(run()[1], "Warnings")
    assert warning.endswith("labels 3–5, 7–8")
    (warning,) = entries(run("--label_map=0|1|8|*")[1], "Warnings")
    assert warning.endswith("never used, of labels 0–3: label 2")


def test_label_maps_without_a_background(root, run):
    for split, name in (("train", "a"), ("train", "größe 写真"), ("test", "c")):
        write(root, split, name, halves(1, 2))
    (warning,) = entries(run()[1], "Warnings")
    assert warning.endswith("- label 0, which is the background, does not occur")


def test_photos_that_are_there_twice(root, run):
    write(root, "train", "b", halves(0, 1))
    shutil.copy(root / "train/images/a.jpg", root / "train/images/b.jpg")
    (warning,) = entries(run()[1], "Warnings")
    assert "byte for byte twice in train: 1 photo (b is a); validation is taken out" in warning
    write(root, "validation", "v", halves(0, 1))
    shutil.copy(root / "test/images/c.jpg", root / "validation/images/v.jpg")
    found = entries(run()[1], "Warnings")
    assert any("validation too: 1 photo of test (test's c is validation's v)" in w for w in found)
    assert any(w.endswith("twice in train: 1 photo (b is a)") for w in found)


def test_a_photo_of_test_that_is_in_train(root, run):
    shutil.copy(root / "train/images/a.jpg", root / "test/images/c.jpg")
    (warning,) = entries(run()[1], "Warnings")
    assert "byte for byte in train too: 1 photo of test (test's c is train's a)" in warning
    write(root, "test", "d", halves(0, 1))
    shutil.copy(root / "train/images/a.jpg", root / "test/images/d.jpg")
    (warning,) = entries(run()[1], "Warnings")
    assert "2 photos of test (test's c is train's a, test's d is train's a)" in warning


def test_label_maps_of_another_size_or_shape(root, run):
    write(root, "train", "half", halves(0, 1)[::2, ::2])
    write(root, "train", "rounded", np.zeros((HEIGHT * 10, WIDTH * 10 + 1)))
    write(root, "train", "turned", halves(0, 1).T)
    write(root, "test", "large", halves(0, 1), (2 * HEIGHT, 2 * WIDTH))
    shape, size, test_size = entries(run()[1], "Warnings")
    assert "1 of 5 label maps of train have another SHAPE than their photos (turned)" in shape
    assert "2 of 5 label maps of train have another size than their photos (half, round" in size
    assert "1 of 2 label maps of test have another size than their photos (large)" in test_size


def test_transparent_photos_are_warned_of(root, run):
    write(root, "train", "d", halves(0, 1))
    (root / "train/images/d.jpg").unlink()
    pixels = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    Image.fromarray(pixels).save(root / "train/images/d.png")
    assert entries(run()[1], "Warnings") == []
    pixels[:2, :, 3] = 0
    Image.fromarray(pixels).save(root / "train/images/d.png")
    status, lines = run()
    (warning,) = entries(lines, "Warnings")
    assert status == 0
    assert "1 of 3 photos of train have transparent pixels (d: 60 pixels)" in warning


def test_label_maps_stored_as_jpeg_are_faults(root, run):
    labels = root / "train/labels/a.png"
    Image.open(labels).save(labels, format="JPEG")
    (root / "train/images/a.jpg").write_bytes(b"")  # a fault of the photo hides none
    faults = entries(run()[1], "Faults")
    assert any("labels/a.png is stored as JPEG" in fault for fault in faults)
    assert any("images/a.jpg (it is empty)" in fault for fault in faults)
    assert len(faults) == 2


def test_a_photo_turned_by_its_exif_data_is_no_other_size(root, run):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "train/images/a.jpg", exif=exif)
    lines = run()[1]
    assert entries(lines, "Warnings") == []
    assert {"  20×30: 2", "  30×20: 1"} <= set(lines)


def test_many_sizes_are_counted_together(root, run):
    for extra in range(7):
        size = (HEIGHT + extra, WIDTH)
        write(root, "train", f"x{extra}", np.zeros(size), size)
    lines = run()[1]
    assert {"  20×30: 4", "  2 other sizes: 2"} <= set(lines)


def test_samples_are_spread_over_the_splits(root):
    for index in range(20):
        write(root, "train", f"x{index:02}", halves(0, 1))
    samples = findings.check(root).samples
    assert [split for split, _ in samples] == ["train"] * 7 + ["test"]
    assert [name for _, name in samples[:2] + samples[6:]] == ["a", "x01", "x19", "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nowhere"], "there is no folder {}/nowhere"),
        (["{}/train", "--output={}/file/check.png"], "cannot write --output={}/file/check.png"),
        (["{}/train", "--output={}/train"], "--output={}/train: must end in .png"),
        (["{}/train", "--label_map=0|1|1"], "label_map"),
        (["{}/train", "--label_map=0|1", "--num_labels=5"], "label_map"),
        (["{}/train", "--num_labels=0"], "num_labels"),
    ],
)
def test_what_cannot_be_checked(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "file").write_text("")
    assert check(*(argument.format(tmp_path) for argument in arguments)) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert message.format(tmp_path) in error
    assert len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "train"]


def test_the_picture_replaces_no_photo(root, tmp_path, capsys, monkeypatch):
    photo = root / "train" / "images" / "p.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(photo)
    elsewhere = (root / "train" / "images").rename(tmp_path / "elsewhere")
    (root / "train" / "images").symlink_to(elsewhere)
    for file in (photo, root / "train" / "labels" / "a.png"):
        before = file.read_bytes()
        for name in ("p.png", "a.png", "new.png"):
            output = file.with_name(name)
            assert check(str(root), f"--output={output}") == 2
            assert f"--output={output} would be a file of" in capsys.readouterr().err
        assert file.read_bytes() == before
    monkeypatch.chdir(root / "train" / "labels")
    assert check(str(root), "--output=a.png") == 2


def test_as_a_program_without_jax(root, tmp_path):
    arguments = [str(root), f"--output={tmp_path / 'new folder/check.png'}"]
    program = [sys.executable, "-m", "data.checker", *arguments]
    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "No faults: " in result.stdout.splitlines()[-1]
    assert (tmp_path / "new folder/check.png").is_file()
    code = "import sys, data.checker.__main__; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
