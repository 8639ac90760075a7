"""Label maps in colours: each colour is a label number, or an error says which is not."""

import pathlib

import numpy as np
import pytest
from helpers import small_folder
from ml_collections import ConfigDict
from PIL import Image

from configs import common
from data import datasets
from data.checker import findings, presentation
from data.feed import Feed
from scam_jax.commands import label
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.model import TrainedModel

LIST = "#000000 background\n255 0 0 hair, long\n0,0,255\n"
COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    file = tmp_path / "colors.txt"
    file.write_text(LIST)
    return file


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
    """A folder whose label maps have colours."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in "abc":
            image = rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)
            numbers = rng.integers(0, 3, (6, 4), dtype=np.uint8)
            small_folder.write(root, f"{name}.png", image, COLORS[numbers], split)
    return root


def data(root, file, **changes) -> ConfigDict:
    config = common.base().data
    values = {"directory": str(root), "colors": str(file), "num_labels": 3, "height": 6, "width": 4}
    config.update({**values, **changes})
    return config


def of_file(root: pathlib.Path, name="a", split="train") -> pathlib.Path:
    return root / split / "labels" / f"{name}.png"


def numbers_of(file: pathlib.Path) -> np.ndarray:
    same = (np.asarray(Image.open(file))[:, :, None] == COLORS).all(-1)
    return same.argmax(-1)


def test_the_list_has_colours_and_names_by_line(file):
    colors = LabelColors.load(str(file))
    assert colors.colors == ((0, 0, 0), (255, 0, 0), (0, 0, 255))
    assert colors.names == ("background", "hair, long", "#0000ff")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "colors.txt has 0 colours: write 1 … 256 lines"),
        ("#000000\n\n#ff0000", "colors.txt, line 2: '' is no colour: write #rrggbb or three"),
        ("# skin\n#ff0000", "line 1: '# skin' is no colour"),
        ("#fff", "line 1: '#fff' is no colour"),
        ("0 0", "line 1: '0 0' is no colour"),
        ("0 0 256", "line 1: 256 is above 255"),
        ("#000000\n0 0 0 hair", "line 2: #000000 is in line 1 already"),
        ("0 0 0 0\n255 0 0 1", "line 1: the name '0' is a number: write a name, or none"),
        ("\n".join(f"0 {i} {j}" for i in range(2) for j in range(200)), "has 400 colours"),
    ],
)
def test_lists_that_are_refused(tmp_path, text, message):
    (tmp_path / "colors.txt").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        LabelColors.load(str(tmp_path / "colors.txt"))
    assert len(str(error.value).splitlines()) == 1


def test_a_list_that_is_not_there(tmp_path):
    for name in ("nothing.txt", ""):
        with pytest.raises(ValueError, match=r"config\.data\.colors = .* cannot be read \("):
            LabelColors.load(str(tmp_path / name))


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_every_reader_reads_the_colours(root, file, mode):
    for path in root.glob("*/labels/*.png"):
        Image.open(path).convert(mode).save(path)
    config = data(root, file)
    expected = numbers_of(of_file(root)) if mode == "RGB" else None
    example = datasets.load(config, "train")[0]["label"]
    files = root / "train/images/a.png", of_file(root)
    read = TrainedModel(ConfigDict({"data": config}), {}).read(*files).labels
    np.testing.assert_array_equal(read, example)
    if expected is not None:
        np.testing.assert_array_equal(read, expected)
    report = findings.check(root, colors=str(file))
    assert (report.faults, report.label_map) == ((), LabelMap("", 3))


def test_colours_become_numbers_and_the_map_merges_these(root, file):
    config = data(root, file, label_map="0|1,2", num_labels=2)
    expected = numbers_of(of_file(root)) > 0
    np.testing.assert_array_equal(datasets.load(config, "train")[0]["label"], expected)
    assert datasets.names_of_labels(config) == ("background", "hair, long, #0000ff")


def test_names_of_labels_come_from_the_list(root, file):
    assert datasets.names_of_labels(data(root, file)) == ("background", "hair, long", "#0000ff")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_labels": 4}, r"num_labels = 4, but .*colors\.txt .* has 3 labels: set it to 3"),
        (
            {"label_map": "0|1", "num_labels": 2},
            r"label_map = '0\|1' has no label for 2 \(#0000ff\) of .*colors\.txt",
        ),
        (
            {"label_map": "0|1|2|*", "num_labels": 4},
            r"label_map = '0\|1\|2\|\*' has label 3 only for numbers that .*colors\.txt lacks",
        ),
        ({"name": "synthetic_people"}, r"data\.colors = .* only label maps in folders"),
    ],
)
def test_what_does_not_agree_with_the_list_is_refused(root, file, changes, message):
    with pytest.raises(ValueError, match=message):
        datasets.check(data(root, file, **changes))


def test_a_list_without_names_has_none(root, tmp_path):
    file = tmp_path / "colors.txt"
    file.write_text("#000000\n#ff0000\n#0000ff\n")
    assert datasets.names_of_labels(data(root, file)) == ()


def test_the_pages_have_the_colours_of_files(root, file):
    config = data(root, file, label_map="0|1,2", num_labels=2)
    assert label._colors(config).tolist() == [[0, 0, 0], [255, 0, 0], [255, 255, 255]]


def test_two_labels_have_two_names(root, tmp_path):
    file = tmp_path / "colors.txt"
    file.write_text("#000000 background\n#ff0000 hair\n#0000ff hair\n")
    with pytest.raises(ValueError, match="has the name 'hair' for more than one label: give each"):
        datasets.check(data(root, file))
    datasets.check(data(root, file, label_map="0|1,2", num_labels=2))
    assert LabelColors.load(str(file)).label_names(LabelMap("0|1,2", 2)) == ("background", "hair")


def test_a_colour_that_is_not_in_the_list_is_named_with_the_nearest(root, file):
    pixels = np.array(Image.open(of_file(root)))
    pixels[0] = (250, 3, 4)
    pixels[1, :2] = (9, 9, 9)
    Image.fromarray(pixels).save(of_file(root))
    message = (
        r"label map .*labels/a\.png has #fa0304 at 4 pixels, but .*colors\.txt .* the nearest is "
        r"#ff0000, hair, long \(and 1 more colour missing\): add it there, or"
    )
    with pytest.raises(ValueError, match=message):
        datasets.load(data(root, file), "train")[0]
    (fault,) = findings.check(root, colors=str(file)).faults
    assert "#fa0304 at 4 pixels" in fault


def test_label_maps_without_colours_or_with_hidden_ones_are_refused(root, file):
    Image.fromarray(np.zeros((6, 4), np.uint16)).save(of_file(root))
    with pytest.raises(ValueError, match=r"a\.png has numbers instead of colours \(mode I;16\)"):
        datasets.prepare(data(root, file))
    Image.new("RGBA", (4, 6), (255, 0, 0, 200)).save(of_file(root))
    with pytest.raises(ValueError, match=r"a\.png is transparent at 24 of 24 pixels"):
        datasets.load(data(root, file), "train")[0]


def test_without_a_list_the_error_suggests_one(root):
    with pytest.raises(ValueError, match=r"a\.png has colour .*set config\.data\.colors"):
        datasets.prepare(data(root, ""))


def test_other_colours_are_other_training_data(root, file):
    digests = [Feed(data(root, file), 0, 2, {}).training_data]
    file.write_text("#000000\n#0000ff\n#ff0000\n")
    digests.append(Feed(data(root, file), 0, 2, {}).training_data)
    assert len({*digests}) == 2


def test_the_checker_says_how_to_train_with_colours(root, file, tmp_path):
    text = presentation.describe(findings.check(root, colors=str(file)), tmp_path / "check.png")
    assert text.endswith(f" --config.data.colors={file} --config.data.num_labels=3")
    assert any(line.endswith("  hair, long") for line in text.splitlines())


def test_large_label_maps_are_looked_up_in_parts(file):
    numbers = np.random.default_rng(0).integers(0, 3, (1025, 1025))
    found = LabelColors.load(str(file)).numbers(COLORS[numbers], "a.png")
    np.testing.assert_array_equal(found, numbers)
