"""What a user types: configs, keys, files. A mistake is one line with the nearest right word."""

import json
import pathlib

import numpy as np
import pytest
from absl import flags
from helpers import small
from PIL import Image

from scam_jax import console
from scam_jax.commands import arguments
from scam_jax.inference import recipe_file, sources
from scam_jax.runs import command_line, run_folder


@pytest.fixture
def parse(monkeypatch):
    """Parses a command line with flags of its own; returns the result, or the line of the error."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    flags.DEFINE_enum("mode", "train", ["train", "eval"], "", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)

    def parsed(*words):
        try:
            return command_line.parse(["main.py", *words])
        except SystemExit as end:
            line = end.code
        assert "\n" not in line
        return line

    return parsed


def test_a_config_with_overrides(parse):
    given = parse(
        "--config.train.batch_size=7", "--config=configs/celeba.py:model=sean", "--mode=eval"
    )
    assert given.file == "configs/celeba.py:model=sean"
    assert given.config.train.batch_size == 7
    assert given.config.model.family == "sean"
    assert given.rest == []


def test_overrides_of_a_run_s_own_config(parse, tmp_path):
    run_folder.record(small.config(), tmp_path)
    given = parse(f"--workdir={tmp_path}", "--mode=eval", "--config.data.directory=elsewhere")
    assert given.file is None
    assert given.config.data.directory == "elsewhere"
    assert given.config.data.num_labels == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--config=configs/faces.py", "--config.train.batch_sze=3"],
            "--config.train.batch_sze: the config has no such key; the nearest is "
            "--config.train.batch_size",
        ),
        (
            ["--config=configs/faces.py", "--config.trian.batch_size=3"],
            "--config.trian.batch_size: the config has no such key; the nearest is "
            "--config.train.batch_size",
        ),
        (
            ["--config=configs/faces.py:model=sean", "--config.model.encoder.use_vea=True"],
            "nearest is --config.model.encoder.use_vae",
        ),
        (
            ["--config=configs/face.py", "--config.train.batch_size=3"],
            "--config=configs/face.py: there is no such file; the nearest is configs/faces.py",
        ),
        (["--config=configs/celeba.py:model=seen"], "use model= one of scam, spade"),
        (["--config=configs/celeba.py:modle=sean"], "use model or discriminator"),
        (["--config=configs/faces.py", "--config.train.batch_size=x"], "batch_size=x: invalid"),
        (["--config=configs/faces.py", "--config.train.batch_size=3.5"], "batch_size=3.5: inv"),
        (["--config=configs/faces.py", "--config.train=3"], "--config.train=3: Failed to parse"),
        (["--config=README.md"], "a config is a Python file"),
        (["--config.train.batch_size=3"], "give --config=FILE or --workdir=RUN, whose key it is"),
        (["--wrokdir=x"], "Unknown command line flag 'wrokdir'. Did you mean: workdir"),
        (["--mode=evl"], "--mode=evl: value should be one of"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest_right_one(parse, words, message):
    assert message in parse(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", "line 1: SyntaxError"),
        ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError"),
        ("def get_config():\n    return 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("def get_config():\n    return {}\n", "get_config returns no ConfigDict"),
        ("x = 1\n", "AttributeError"),
    ],
)
def test_a_config_file_that_fails_is_named_with_its_line(parse, tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    line = parse(f"--config={tmp_path / 'mine.py'}")
    assert f"{tmp_path / 'mine.py'}" in line
    assert message in line


def test_a_damaged_config_of_a_run_is_one_line(parse, tmp_path):
    (tmp_path / "config.json").write_text("")
    assert "config.json is empty; restore it" in parse(f"--workdir={tmp_path}", "--mode=eval")


def test_names_with_commas(tmp_path):
    for name in ("a,b.jpg", "c,d.png", "e.png"):
        (tmp_path / name).write_text("")
    assert arguments.pair("target", f"{tmp_path}/a,b.jpg,{tmp_path}/c,d.png") == (
        f"{tmp_path}/a,b.jpg",
        f"{tmp_path}/c,d.png",
    )
    with pytest.raises(ValueError, match="no comma divides this into two files that exist"):
        arguments.pair("target", f"{tmp_path}/a,b.jpg,{tmp_path}/f.png")
    with pytest.raises(ValueError, match="--target=IMAGE,LABELS is needed"):
        arguments.pair("target", "")
    for alone in ("e.png", "a,b.jpg"):
        assert arguments.pair("target", f"{tmp_path}/{alone}") == (f"{tmp_path}/{alone}", None)
    assert arguments.pair("target", "no.jpg,none.png") == ("no.jpg", "none.png")


def test_a_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert arguments.pair("target", "~/a.jpg,~/a.png") == (f"{tmp_path}/a.jpg", f"{tmp_path}/a.png")
    assert arguments.output("~/out/a.png", []) == tmp_path / "out" / "a.png"
    config = small.config(data__directory="~/photos", weights_directory="~/weights")
    run_folder.expand_places(config)
    assert config.data.directory == f"{tmp_path}/photos"
    assert config.data.manual_dir == ""
    assert str(console.path("~nobody-here/a.jpg")) == "~nobody-here/a.jpg", "no traceback"
    assert config.weights_directory == f"{tmp_path}/weights"


@pytest.mark.parametrize("link", [False, True])
def test_a_photo_is_not_replaced_by_its_result(tmp_path, link):
    photo = tmp_path / "mine.png"
    Image.new("RGB", (4, 4)).save(photo)
    result = tmp_path / "link.png" if link else photo
    if link:
        result.symlink_to(photo)
    with pytest.raises(ValueError, match=rf"--output={result} would replace {photo}"):
        arguments.output(str(result), ["labels.png", str(photo)])
    other = tmp_path / "other.png"
    other.write_text("older")
    assert arguments.output(str(other), [str(photo)]) == other
    assert other.read_text() == "older"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.xyz", "must end in .png, .jpg"),
        ("out", "must end in .png, .jpg"),
        ("folder.png", "is a folder"),
        ("file.txt/out.png", "nothing can be written there"),
        (None, "--output=OUT.png is needed"),
    ],
)
def test_an_unusable_output_is_refused_before_the_work(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ValueError, match=message):
        arguments.output(name and str(tmp_path / name), [])


@pytest.mark.parametrize("value", ["newest", "best", "7"])
def test_checkpoints_have_names_or_steps(value):
    assert str(arguments.checkpoint(value)) == value


def test_no_other_checkpoints():
    with pytest.raises(ValueError, match="--checkpoint=last: use newest, best, or the step"):
        arguments.checkpoint("last")


@pytest.mark.parametrize(
    ("subject", "target", "num_labels", "labels", "message"),
    [
        ([0], [0], 1, None, "has nothing of the subject"),
        ([0, 1], [0, 2], 3, [1], "has nothing of the subject"),
        (
            [0, 1],
            [0, 1, 2],
            3,
            None,
            "the subject has no label 2, which the label map shows: the target's stays",
        ),
        ([0, 1, 2], [0, 1], 3, None, None),
        ([0, 1], [0, 1], 3, [1], None),
    ],
)
def test_a_transfer_that_does_nothing_says_so(subject, target, num_labels, labels, message):
    maps = np.array([subject], np.uint8), np.array([target], np.uint8)
    found = sources.remarks(sources.taken(num_labels, labels), *maps, sources.KEEP_TARGET)
    assert len(found) == (message is not None)
    assert message is None or message in found[0]


def test_files_of_a_recipe(tmp_path):
    """They are not replaced by its picture."""
    file = tmp_path / "recipe.json"
    pictures = {"target": {"photo": "b.png", "labels": "data:image/png;base64,AAAA"}}
    file.write_text(json.dumps({"pictures": {**pictures, "a": {"photo": "/photos/a.jpg"}}}))
    expected = [tmp_path / "b.png", pathlib.Path("/photos/a.jpg")]
    assert recipe_file.files_of(file) == expected
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"recipe.json: pictures: \{…\} is needed"):
        recipe_file.files_of(file)


@pytest.mark.parametrize("flag", ["subject", "target", "labels", "absent"])
def test_a_recipe_and_what_it_holds_exclude_each_other(flag):
    values = flags.FlagValues()
    for name in ("subject", "target", "labels", "absent"):
        flags.DEFINE_string(name, "target", "", flag_values=values)
    values(["main.py"])
    assert arguments.recipe("~/r.json", values).is_absolute()
    values(["main.py", f"--{flag}=1"])
    with pytest.raises(ValueError, match=f"--{flag} and --recipe exclude each other"):
        arguments.recipe("r.json", values)
