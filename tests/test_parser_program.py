"""The program with a parser: it resumes, labels own photos, and goes into a release."""

import shutil

import numpy as np
import pytest
from helpers.program import command, run, saved_checksums, train_command
from PIL import Image

from scam_jax import TrainedModel
from scam_jax.inference import label_files


@pytest.fixture(scope="module")
def run_with_parser(finished_once, tmp_path_factory):
    workdir = shutil.copytree(finished_once, tmp_path_factory.mktemp("with_parser") / "run")
    result = run(command("--mode=parser", f"--workdir={workdir}"))
    for split in ("validation", "test"):
        assert f"On the {split} split of folder" in result.stdout
        assert (workdir / "parser" / f"evaluation_{split}" / "figures.md").is_file()
    assert "| mean IoU |" in result.stdout
    return workdir


@pytest.mark.slow
def test_a_parser_resumes_to_the_bit(run_with_parser, tmp_path):
    workdir = shutil.copytree(run_with_parser, tmp_path / "run")
    checkpoints = workdir / "parser" / "checkpoints"
    assert sorted(f.name for f in checkpoints.iterdir()) == ["4", "6"]
    expected = saved_checksums(checkpoints / "6")
    metrics = (workdir / "parser" / "metrics.jsonl").read_text()
    assert '"eval/ours/mean IoU"' in metrics
    shutil.rmtree(checkpoints / "6")
    assert "resuming from step 4" in run(command("--mode=parser", f"--workdir={workdir}")).stderr
    assert saved_checksums(checkpoints / "6") == expected
    assert (workdir / "parser" / "metrics.jsonl").read_text() == metrics


@pytest.mark.slow
def test_another_size_of_a_trained_parser_is_refused(photos, run_with_parser):
    other = ["--mode=parser", "--config.parser.features=16"]
    result = run(train_command(photos, run_with_parser, *other), check=False)
    assert result.returncode == 1
    assert "config.parser.features = 16, but the weights of the run in" in result.stderr
    longer = ["--mode=parser", "--config.parser.num_steps=7"]
    result = run(train_command(photos, run_with_parser, *longer), check=False)
    assert result.returncode == 1
    assert "--accept_changes" in result.stderr


@pytest.mark.slow
def test_label_maps_of_own_photos(photos, run_with_parser, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(photos / "test" / "images" / "0.png", own / f"{name}.png")
    (own / "broken.jpg").write_bytes(b"no photo")
    (own / "labels").mkdir()
    (own / "labels" / "b.png").write_bytes(b"my own")
    result = run(command("--mode=label", f"--workdir={run_with_parser}", f"--photos={own}"), False)
    assert result.returncode == 1
    assert "1 of 4 photos have no label map: " in result.stderr
    assert "broken.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert "wrote 2 label maps" in result.stdout
    assert (own / "labels" / "b.png").read_bytes() == b"my own"
    model = TrainedModel.load(run_with_parser)
    image = np.asarray(Image.open(own / "a.png"))
    drawn = label_files.read_numbers(own / "labels" / "a.png")
    np.testing.assert_array_equal(drawn, model.labels_of(image))
    lines = (own / "labels_to_check" / "confidence.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["a.png", "c.png"]
    assert Image.open(own / "labels_to_check" / "page_001.jpg").size[0] > 100


@pytest.mark.slow
def test_a_photo_without_a_label_map_is_transferred(photos, finished, run_with_parser, tmp_path):
    people = [photos / "test" / "images" / f"{i}.png" for i in (0, 1)]
    given = [f"--subject={people[0]}", f"--target={people[1]}", f"--output={tmp_path / 'out.png'}"]
    result = run(command("--mode=transfer", f"--workdir={run_with_parser}", *given))
    assert f"{people[0]} has no label map: the parser draws it" in result.stderr
    model = TrainedModel.load(run_with_parser)
    expected = model.transfer(*model.read(people[0]), *model.read(people[1]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)
    result = run(command("--mode=transfer", f"--workdir={finished}", *given), check=False)
    assert result.returncode == 1
    assert "this model has no parser, so that each photo needs a label map" in result.stderr


@pytest.mark.slow
def test_the_parser_s_own_folder_is_no_run_to_use(run_with_parser):
    folder = run_with_parser / "parser"
    result = run(command("--mode=eval", f"--workdir={folder}"), check=False)
    assert result.returncode == 1
    assert f"--workdir={folder} is the parser of a run: give {run_with_parser}" in result.stderr


@pytest.mark.slow
def test_a_release_holds_the_parser(photos, run_with_parser, tmp_path):
    output = tmp_path / "release"
    run(command("--mode=export", f"--workdir={run_with_parser}", f"--output={output}"))
    photo = np.asarray(Image.open(photos / "test" / "images" / "0.png"))
    released, model = TrainedModel.load(output), TrainedModel.load(run_with_parser)
    np.testing.assert_array_equal(released.labels_of(photo), model.labels_of(photo))
    assert "draws the label map itself" in (output / "MODEL_CARD.md").read_text()
    with (output / "parser.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(ValueError, match=r"parser.safetensors is not the file that was released"):
        TrainedModel.load(output).labels_of(photo)
