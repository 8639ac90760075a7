"""Data sets in a bucket, and the program with runs in it, on a server of this machine."""

import contextlib
import json
import pathlib
import signal
import sys
import urllib.request

import numpy as np
import pytest
from helpers import small
from helpers.bucket import BUCKET, names, send
from helpers.closeness import assert_trees_close
from helpers.program import (
    Process,
    command,
    ended,
    free_port,
    run,
    run_in_turn,
    start,
    start_two,
    wait_for,
    wait_until,
)
from PIL import Image

from data import datasets
from data.synthetic.synthetic_people import SyntheticPeople, SyntheticPeopleConfig
from scam_jax import buckets, files
from scam_jax.inference import release_examples
from scam_jax.report import __main__ as report
from scam_jax.training.checkpoints import Checkpoints


def _people(directory) -> "small.ConfigDict":
    config = small.config(data__height=32, data__width=32, data__num_labels=6).data
    config.update({"name": "synthetic_people", "directory": str(directory)})
    return config


@pytest.mark.usefixtures("bucket_server")
def test_data_that_are_not_prepared():
    message = (
        "config.data.directory = gs://people/none: there is no synthetic_people.*cannot be "
        "prepared in a bucket.*gcloud storage cp -r datasets/synthetic_people gs://people/none/"
    )
    with pytest.raises(ValueError, match=message):
        datasets.prepare(_people("gs://people/none"))
    assert names("gs://people/none") == []


@pytest.mark.usefixtures("bucket_server")
def test_examples_of_a_release(tmp_path):
    data = small.config().data
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (2, 16, 16, 3)), random.integers(0, 3, (2, 16, 16))
    pictures = [
        {"image": image.astype(np.uint8), "label": label.astype(np.uint8)}
        for image, label in zip(images, labels, strict=True)
    ]
    release_examples.write(tmp_path, pictures, data)
    place = buckets.path(f"{BUCKET}/release")
    assert release_examples.load(place, data) == [], "a release without examples"
    for file in (tmp_path / "examples").iterdir():
        files.write(place / "examples" / file.name, file.read_bytes())
    for read, written in zip(release_examples.load(place, data), pictures, strict=True):
        np.testing.assert_array_equal(read["image"], written["image"])
        np.testing.assert_array_equal(read["label"], written["label"])


def test_photos_in_folders():
    config = _people("gs://people/photos")
    config.name = "folder"
    message = (
        "config.data.directory = gs://people/photos: photos in folders are read from a file "
        "system.*gcloud storage cp -r gs://people/photos photos"
    )
    with pytest.raises(ValueError, match=message):
        datasets.prepare(config)


@pytest.fixture(scope="module")
def people(tmp_path_factory, bucket_server) -> pathlib.Path:
    """Synthetic people, a few, in a folder and in the bucket."""
    folder = tmp_path_factory.mktemp("datasets")
    (name,) = (c.name for c in SyntheticPeople.BUILDER_CONFIGS if (c.height, c.width) == (32, 32))
    counts = {"num_train": 6, "num_validation": 2, "num_test": 3}
    few = SyntheticPeopleConfig(name=name, description="", height=32, width=32, **counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyntheticPeople, "BUILDER_CONFIGS", [few])
        patch.setattr(SyntheticPeople, "builder_configs", {name: few})
        SyntheticPeople(config=few, data_dir=folder).download_and_prepare()
    send(folder, f"{BUCKET}/datasets")
    return folder


def test_data_in_a_bucket_are_those_of_the_folder(people):
    both = [_people(people), _people(f"{BUCKET}/datasets")]
    for split in datasets.SPLITS:
        local, remote = (datasets.load(config, split) for config in both)
        assert len(local) == len(remote) > 0
        for i in range(len(local)):
            assert_trees_close(dict(local[i]), dict(remote[i]))


def _trains(workdir, data, *others, file="small_run"):
    sizes = ("height=32", "width=32", "num_labels=6", "skip_bad_files=False")
    return command(
        f"--config=tests/helpers/{file}.py",
        f"--config.data.directory={data}",
        "--config.data.name=synthetic_people",
        *(f"--config.data.{size}" for size in sizes),
        f"--workdir={workdir}",
        *others,
    )


RUN = f"{BUCKET}/runs/demo"
# main.py, which waits for a silent lock for seconds instead of a minute.
_QUICK = (
    "import runpy; from scam_jax.runs import bucket_lock as lock\n"
    "lock.BEAT, lock.SILENCE = 0.5, 3.0\n"
    "runpy.run_path('main.py', run_name='__main__')"
)


@pytest.fixture(scope="module")
def trained(people, tmp_path_factory):
    """A run in the bucket that was killed and went on, and one in a folder that was not."""
    local = tmp_path_factory.mktemp("local")
    run(_trains(local, people))
    arguments = _trains(RUN, f"{BUCKET}/datasets")
    metrics = buckets.path(RUN) / "metrics.jsonl"
    with ended([start(arguments, kind=Process)]) as killed:
        wait_until(lambda: metrics.exists() and b'"step": 5' in metrics.read_bytes(), killed)
    log = run([sys.executable, "-c", _QUICK, *arguments[2:]]).stderr
    assert "waiting up to 3 seconds for a sign of life" in log
    assert "resuming from step" in log
    return local


@pytest.mark.slow
def test_a_killed_run_goes_on_as_one_in_a_folder(trained):
    remote = buckets.path(RUN)
    assert (remote / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()
    assert Checkpoints(remote / "checkpoints").steps() == [8, 6]
    starts = [entry for _, entry in files.read_json_lines(remote / "runs.jsonl")]
    assert starts[0]["step"] == 0
    assert starts[-1]["reached"] == 8
    assert len(names(f"{RUN}/tensorboard")) >= 1
    assert not (remote / "trainer.lock").exists()
    assert "Traceback" not in (log := run(_trains(RUN, f"{BUCKET}/datasets")).stderr), log
    assert "nothing left to train" in log


@pytest.mark.slow
def test_commands_read_a_run_in_a_bucket(people, trained, tmp_path):
    statistics = f"--config.eval.statistics_directory={tmp_path}"
    evaluated = run(command("--mode=eval", f"--workdir={RUN}", statistics)).stdout
    assert f"wrote {RUN}/evaluation_test" in evaluated
    assert "evaluation_test/figures.json" in names(RUN)
    report.main(report.parse(["report", RUN, f"--output={tmp_path / 'report'}"]))
    assert "demo" in (tmp_path / "report" / "report.html").read_text()
    out, photos = tmp_path / "release", tmp_path / "photos"
    photos.mkdir()
    image = datasets.load(_people(people), "test")[0]["image"]
    Image.fromarray(np.asarray(image)).save(photos / "a.png")
    pair = f"{photos / 'a.png'},{photos / 'labels' / 'a.png'}"
    subject, target = f"--subject={pair}", f"--target={pair}"
    pictures = {mode: tmp_path / f"{mode}.png" for mode in ("transfer", "attention", "reconstruct")}
    commands = (
        ("gallery", "--count=2"),
        ("export", f"--output={out}", "--examples=2"),
        ("parser",),
        ("label", f"--photos={photos}"),
        ("transfer", subject, target, f"--output={pictures['transfer']}"),
        ("attention", subject, target, f"--output={pictures['attention']}"),
        ("reconstruct", target, f"--output={pictures['reconstruct']}"),
    )
    run_in_turn(*(command(f"--mode={m}", f"--workdir={RUN}", *flags) for m, *flags in commands))
    assert (buckets.path(RUN) / "gallery.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "weights.safetensors").is_file()
    assert [*(out / "examples").glob("*.png")]
    assert (photos / "labels" / "a.png").is_file()
    assert all(picture.is_file() for picture in pictures.values())


@pytest.mark.slow
def test_two_processes_train_a_run_in_a_bucket(trained):
    workdir = f"{BUCKET}/runs/two"
    options = ("--config.train.num_steps=2", "--config.eval.every=0")
    for _, log in wait_for(start_two(_trains(workdir, f"{BUCKET}/datasets", *options))):
        assert "Traceback" not in log
    place = buckets.path(workdir)
    assert Checkpoints(place / "checkpoints").steps() == [2]
    ours, theirs = (
        [line for _, line in files.read_json_lines(folder / "metrics.jsonl")]
        for folder in (place, trained)
    )
    for a, b in zip(ours, theirs[:2], strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-5)
    assert not (place / "trainer.lock").exists()


@pytest.mark.slow
def test_a_study_in_a_bucket(people, tmp_path):
    workdir = f"{BUCKET}/studies/latents"
    statistics = f"--config.eval.statistics_directory={tmp_path}"
    arguments = _trains(
        workdir, f"{BUCKET}/datasets", statistics, "--mode=study", file="small_study"
    )
    first = run(arguments)
    place = buckets.path(workdir)
    assert f"wrote {workdir}/report/report.html" in first.stdout
    assert "two_latents" in (place / "report" / "report.md").read_text()
    figures = place / "two_latents" / "seed_0" / "evaluation_test" / "figures.json"
    evaluated = figures.read_bytes()
    again = run(arguments)
    assert "nothing left to train" in again.stderr
    assert "compiled the training step" not in again.stderr
    assert figures.read_bytes() == evaluated


@pytest.mark.slow
def test_a_run_with_workers_a_trace_and_its_best_checkpoint(trained, tmp_path):
    other = f"{BUCKET}/runs/other"
    chosen = {
        "data.num_workers": 2,
        "train.profile": "3:2",
        "train.keep_best": "psnr",
        "train.num_steps": 4,
        "eval.statistics_directory": tmp_path,
    }
    values = [f"--config.{key}={value}" for key, value in chosen.items()]
    best = command("--mode=gallery", f"--workdir={other}", "--count=2", "--checkpoint=best")
    log = run_in_turn(
        _trains(other, f"{BUCKET}/datasets", *values, f"--init_from={RUN}"), best
    ).stderr
    assert f"{RUN}" in log
    assert any(name.endswith(".xplane.pb") for name in names(f"{other}/profile"))
    assert Checkpoints(buckets.path(other) / "best").steps() == [4]
    assert "gallery.png" in names(other)


@pytest.mark.slow
def test_the_studio_reads_a_run_in_a_bucket(trained):
    port = free_port()
    arguments = command("--mode=studio", f"--workdir={RUN}", f"--port={port}")

    told = {}

    def is_ready():
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{port}/api/about"
            with urllib.request.urlopen(address, timeout=60) as answer:
                told.update(json.load(answer))
        return told.get("ready")

    with ended([start(arguments, kind=Process)]) as (process,):
        wait_until(is_ready, [process])
        assert told["step"] == 8
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, process.written()


@pytest.mark.slow
@pytest.mark.usefixtures("bucket_server")
def test_the_program_refuses_in_one_line():
    for arguments, message in (
        (_trains("gs://nobody/run", "gs://people/datasets"), "there is no bucket nobody"),
        (_trains("gs://people/new", "gs://people/none"), "cannot be prepared in a bucket"),
    ):
        refused = run(arguments, check=False)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
