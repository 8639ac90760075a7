"""A release: written, checked, loaded, and run without this package."""

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
from unittest import mock

import jax
import numpy as np
import pytest
from helpers import small
from helpers.released import FEED, NAMES, TRANSFERS, pictures, transferred, write_run
from PIL import Image

from scam_jax import TrainedModel, models
from scam_jax.commands import export, train
from scam_jax.evaluation.results import OURS, Evaluation, Figure
from scam_jax.inference import programs, release, release_examples
from scam_jax.runs import changes, run_folder
from scam_jax.training import state
from scam_jax.weights import transplant

# A process without this package, and without the packages that a release does not need.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({absent}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    places = {"data__directory": "/home/somebody/photos", "weights_directory": "/somewhere"}
    write_run(folder, small.shallow(data__label_map="0|2|7", **places))
    return folder


def export_model(config, run, folder, **options):
    """Exports without the programs, which take longest and have tests of their own."""
    with mock.patch.object(programs, "export_programs", return_value={"transfer": b"none"}):
        export.export(config, run, folder, open_feed=lambda *_: FEED, **options)


@pytest.fixture(scope="module")
def released(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("released") / "release"
    export_model(run_folder.load_config(run), run, folder, licence="cc-by-4.0")
    return folder


@pytest.fixture
def copy(released, tmp_path):
    return shutil.copytree(released, tmp_path / "copy")


def test_it_is_the_run_s_model(run, released):
    of_run, of_release = TrainedModel.load(run), TrainedModel.load(released)
    assert of_release.step == of_run.step == 7
    assert [*of_release.label_names] == [*of_run.label_names] == NAMES
    batch = pictures(1)
    np.testing.assert_array_equal(transferred(of_release, batch), transferred(of_run, batch))


def test_files_and_their_digests(released):
    lines = (released / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    found = {f.relative_to(released).as_posix() for f in released.rglob("*") if f.is_file()}
    assert sums.keys() == found - {"SHA256SUMS"}
    assert {"weights.safetensors", "config.json", "MODEL_CARD.md", "README.md"} < sums.keys()
    for name, digest in sums.items():
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == digest


def test_the_config_names_no_place_of_the_machine(released):
    text = (released / "config.json").read_text()
    assert "/home/somebody" not in text
    assert "/somewhere" not in text
    config = json.loads(text)
    assert config["data"]["label_map"] == "0|2|7"
    assert config["release"]["label_names"] == NAMES


def test_the_card_has_licence_labels_and_figures(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    figure = Figure("PSNR", OURS, (21.5,), "dB")
    Evaluation(7, "people", "test", 12, [figure]).save(folder / "evaluation_test")
    (folder / "evaluation_validation").mkdir()  # as an evaluation leaves it that was stopped
    export_model(run_folder.load_config(folder), folder, tmp_path / "out", licence="cc-by-4.0")
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    for expected in ("| 1 | hair |", "| PSNR |  | ours | 21.5 dB |", "12 training images"):
        assert expected in card


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(["config.json", "weights.safetensors"], ["cut", "flip", "remove"]),
        *itertools.product(["SHA256SUMS"], ["cut", "remove"]),
    ],
)
def test_a_damaged_file_is_named(copy, name, damage):
    content = bytearray((copy / name).read_bytes())
    (copy / name).unlink()
    if damage != "remove":
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content if damage == "flip" else content[:-9])
    with pytest.raises((ValueError, FileNotFoundError), match=f"{copy}/.*fetch the release again"):
        TrainedModel.load(copy)


def test_weights_that_fit_their_digest_but_are_none(copy):
    (copy / "weights.safetensors").write_bytes(b"<html>not found</html>" * 9)
    release._write_sums(copy)
    with pytest.raises(ValueError, match=r"weights\.safetensors: .*header"):
        TrainedModel.load(copy)


def test_a_release_of_another_project(copy):
    (copy / "config.json").write_text('{"model_type": "bert"}')
    release._write_sums(copy)
    with pytest.raises(ValueError, match=r"config\.json has no entry 'release'"):
        TrainedModel.load(copy)


def test_bfloat16_halves_the_weights(run, released, tmp_path):
    export_model(run_folder.load_config(run), run, tmp_path / "half", dtype="bfloat16")
    sizes = [(f / "weights.safetensors").stat().st_size for f in (released, tmp_path / "half")]
    assert sizes[1] < 0.7 * sizes[0]
    full, half = TrainedModel.load(released), TrainedModel.load(tmp_path / "half")
    for a, b in zip(jax.tree.leaves(full.variables), jax.tree.leaves(half.variables), strict=True):
        assert b.dtype == a.dtype
        np.testing.assert_allclose(b, a, rtol=2**-8, atol=1e-30)


def test_an_output_with_other_files_is_refused_and_an_older_release_replaced(
    run, released, tmp_path
):
    config = run_folder.load_config(run)
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"other files, such as photo\.jpg: give a new"):
        export_model(config, run, tmp_path)
    assert (tmp_path / "photo.jpg").exists()
    with pytest.raises(ValueError, match="is a release already"):
        export_model(config, released, tmp_path / "new")
    older = shutil.copytree(released, tmp_path / "older")
    (older / "programs" / "old.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds other files, such as programs/old\.bin"):
        export_model(config, run, older)
    release._write_sums(older)
    (older / "README.md").write_text("a page of one's own")
    with pytest.raises(ValueError, match=r"holds README\.md, which was changed since: give a new"):
        export_model(config, run, older)
    release._write_sums(older)
    export_model(config, run, older)
    assert not (older / "programs" / "old.bin").exists()


def test_a_release_is_not_trained(copy):
    before = (copy / "config.json").read_bytes()
    with pytest.raises(ValueError, match=r"--workdir=.* is a release, which is not trained"):
        train.train(small.config(), copy, None, None)
    assert (copy / "config.json").read_bytes() == before


def test_a_release_keeps_the_colours_of_label_maps(tmp_path):
    colors, run = tmp_path / "colors.txt", tmp_path / "run"
    colors.write_text("#000000 background\n#ff0000 hair\n#0000ff skin\n")
    write_run(run, small.shallow(data__colors=str(colors)))
    export_model(run_folder.load_config(run), run, tmp_path / "release")
    colors.unlink()
    shutil.rmtree(run)
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "b.png")
    model = TrainedModel.load(tmp_path / "release")
    assert (model.read(tmp_path / "a.png", tmp_path / "b.png").labels == 1).all()
    card = (tmp_path / "release" / "MODEL_CARD.md").read_text()
    assert "Label map files have the colours of `label_colors.txt`" in card
    assert "hold these labels as they are" not in card
    colors = tmp_path / "release" / "label_colors.txt"
    colors.write_text(colors.read_text().replace("ff0000", "00ff00"))
    with pytest.raises(ValueError, match=r"label_colors.txt is not the file that was released"):
        TrainedModel.load(tmp_path / "release")
    colors.unlink()
    with pytest.raises(FileNotFoundError, match=r"label_colors.txt is missing"):
        TrainedModel.load(tmp_path / "release")


def test_a_config_that_does_not_fit_a_release_is_refused(released):
    config = run_folder.load_config(released)
    changes.check_weights_fit(config, released)
    config.model.latent_dim += 1
    with pytest.raises(ValueError, match=r"config.model.latent_dim = .* were trained with"):
        changes.check_weights_fit(config, released)


def test_loading_needs_neither_orbax_nor_optax(released):
    program = WITHOUT.format(absent=["orbax", "optax", "orbax.checkpoint"]) + (
        f"from scam_jax import TrainedModel\nassert TrainedModel.load({str(released)!r}).step == 7"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_run_starts_from_a_release(run, released):
    """The discriminator, which the release lacks, is the new run's own."""
    config = run_folder.load_config(run)
    config.seed = 5
    networks = models.build(config)
    fresh = state.create(config, networks)
    begun = transplant.initial_state(config, networks, released, NAMES)
    of_run = TrainedModel.load(run)
    for network in ("encoder", "generator"):
        jax.tree.map(
            np.testing.assert_array_equal,
            begun.params[network],
            of_run.variables[network]["params"],
        )
    jax.tree.map(
        np.testing.assert_array_equal, begun.params["discriminator"], fresh.params["discriminator"]
    )
    more = config.copy_and_resolve_references()
    more.data.num_labels = 4
    grown = transplant.initial_state(
        more, models.build(more), released, ["background", "hat", *NAMES[1:]]
    )
    assert grown.params["encoder"]["latents"].shape[0] == 3 + 3 * 2


@pytest.mark.parametrize(("feed", "count"), [(FEED, 3), (TRANSFERS, 2)])
def test_examples_are_read_as_they_were(run, tmp_path, feed, count):
    config = run_folder.load_config(run)
    with mock.patch.object(programs, "export_programs", return_value={}):
        export.export(config, run, tmp_path / "release", lambda *_: feed, examples=3)
    expected = (feed.transfers("test") or feed.split("test"))[:count]
    loaded = release_examples.load(tmp_path / "release", config.data)
    assert len(loaded) == count
    for a, b in zip(loaded, expected, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    name = "00_labels.png" if feed is FEED else "00_target_labels.png"
    numbers = np.asarray(Image.open(tmp_path / "release" / "examples" / name))
    assert set(np.unique(numbers)) <= {0, 2, 7}, "the numbers of data.label_map"
    assert f"examples/{name}" in (tmp_path / "release" / "SHA256SUMS").read_text()
