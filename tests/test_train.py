"""The loop: resuming, diverging, stopping, damaged checkpoints; the program as a user runs it."""

import json
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from helpers import small
from helpers.closeness import assert_trees_close
from helpers.loop import mesh_of, run_loop
from helpers.program import command, restored, run, start, train_command
from PIL import Image

from scam_jax import models
from scam_jax.inference.model import TrainedModel
from scam_jax.runs import run_folder
from scam_jax.training import loop, state
from scam_jax.training.checkpoints import CheckpointError, Checkpoints
from scam_jax.training.writer import Writer


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_and_started_again_is_bit_for_bit_the_same(photos, finished, tmp_path, number):
    """Killed in the middle, the same command goes on to the same weights and metrics.jsonl.

    So it does with a worker process that reads the data.
    """
    with start(train_command(photos, tmp_path), stderr=subprocess.DEVNULL) as process:
        metrics = tmp_path / "metrics.jsonl"
        while process.poll() is None and not (
            metrics.exists() and '"step": 3' in metrics.read_text()
        ):
            time.sleep(0.01)
        process.send_signal(number)
        code = process.wait()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    saved = [int(f.name) for f in (tmp_path / "checkpoints").iterdir() if f.name.isdigit()]
    assert max(saved, default=0) < 8, "the run was to be stopped before its end"
    workers = int(number == signal.SIGTERM)
    again = run(train_command(photos, tmp_path, f"--config.data.num_workers={workers}"))
    assert not saved or "resuming from step" in again.stderr
    assert_trees_close(restored(tmp_path), restored(finished))
    assert (tmp_path / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_the_run_folder_says_what_ran(finished):
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8], "evaluated at every fourth step"
    evaluated = json.loads(lines[-1])
    assert {"eval/authors/PSNR", "eval/ours/SSIM"} <= evaluated.keys()
    entry = json.loads((finished / "runs.jsonl").read_text())
    assert entry["seed"] == 0
    assert entry["versions"]["jax"] == jax.__version__
    assert run_folder.load_config(finished).train.num_steps == 8
    assert sorted(f.name for f in (finished / "checkpoints").iterdir() if f.is_dir()) == ["6", "8"]
    assert list((finished / "tensorboard").iterdir())
    skipped = json.loads((finished / "skipped_files.json").read_text())
    assert [*skipped] == ["train"]
    assert [*skipped["train"]] == ["broken"]
    assert "broken.jpg (it is empty)" in skipped["train"]["broken"]


def test_a_run_whose_data_changed_says_so(tmp_path, caplog):
    config = small.config()
    run_folder.record(config, tmp_path, 12)  # and ended before its first checkpoint
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    for num_examples in (None, 28, 28):
        run_folder.record(config, tmp_path, num_examples)
        assert "training examples" not in caplog.text
    run_folder.record(config, tmp_path, 27)
    assert f"there are 27 training examples, but were 28 when the run in {tmp_path}" in caplog.text


def test_a_start_that_failed_binds_nothing(tmp_path):
    """Without a checkpoint there are no weights that another config could go on with."""
    run_folder.record(small.config(data__num_labels=3), tmp_path, 12)
    run_folder.check_same_run(small.config(data__num_labels=4), tmp_path)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"config\.data\.num_labels = 4, but the run in"):
        run_folder.check_same_run(small.config(data__num_labels=4), tmp_path)


@pytest.mark.slow
def test_commands_on_the_trained_model(photos, finished, tmp_path):
    out = run(command("--mode=eval", f"--workdir={finished}")).stdout
    assert "| PSNR |  | authors |" in out
    assert (
        "- missing: R-FID (authors, ours), S-FID (authors, ours): FID needs weights/inception.npz"
        in out
    )
    pictures = sorted(f.name for f in (finished / "evaluation_test").glob("*.png"))
    assert pictures == [
        "attention_encoder.png",
        "attention_generator.png",
        "reconstruction.png",
        "transfer.png",
    ]
    run(command("--mode=gallery", f"--workdir={finished}", "--count=2"))
    assert Image.open(finished / "gallery.png").size[0] > 6 * 16
    pairs = [f"{photos}/test/images/{i}.png,{photos}/test/labels/{i}.png" for i in (0, 1)]
    output = tmp_path / "out.png"
    run(
        command(
            "--mode=transfer",
            f"--workdir={finished}",
            f"--subject={pairs[0]}",
            f"--target={pairs[1]}",
            f"--output={output}",
        )
    )
    model = TrainedModel.load(finished)
    people = [np.asarray(Image.open(name)) for pair in pairs for name in pair.split(",")]
    np.testing.assert_array_equal(np.asarray(Image.open(output)), model.transfer(*people))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.train.batchsize=3"], "batchsize"),
        (["--config.train.batch_size=0"], "config.train.batch_size = 0: use 1 or more"),
        (["--config.data.directory=/nowhere"], "/nowhere"),
        (["--config.data.skip_bad_files=False"], "broken.jpg (it is empty): replace or remove it"),
        (["--config.model.latent_dim=32"], "config.model.latent_dim = 32, but the run in"),
        (["--config.losses.perceptual=1.0"], "vgg19"),
    ],
)
def test_wrong_values_are_refused(photos, request, tmp_path, arguments, message):
    """In a fresh folder, or, where the run's own config matters, in the finished run's."""
    workdir = request.getfixturevalue("finished") if "but the run" in message else tmp_path
    result = run(train_command(photos, workdir, *arguments), check=False)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr or "batchsize" in message
    assert workdir != tmp_path or not list(tmp_path.iterdir())


# The loop within this process


def test_divergence_names_metric_and_step_and_spares_the_checkpoint(tmp_path):
    """The third batch's image is not a number; the state of step 2 stays."""
    config = small.shallow()

    def batches_from(step):
        for i in range(step, 8):
            batch = small.batch(config, i)
            image = batch["image"].astype(np.float32) / 127.5 - 1
            yield {**batch, "image": image * np.nan if i == 2 else image}

    with pytest.raises(loop.TrainingDiverged, match=r"metric '\w+' is nan at step 3"):
        run_loop(config, tmp_path, batches_from)
    folders = [f.name for f in (tmp_path / "checkpoints").iterdir() if f.name.isdigit()]
    assert folders == ["2"]
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    saved = checkpoints.restore(state.abstract(config, models.build(config)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(saved.params))


@pytest.mark.parametrize("step_is_done", [True, False])
def test_reading_counts_as_waiting_only_if_the_device_has_run_dry(step_is_done):
    class Metric:
        def is_ready(self):
            return step_is_done

    def slow_batches():
        time.sleep(0.05)
        yield small.batch(small.config(), 0)

    progress = loop._Loop(small.config(), mesh_of(1), slow_batches(), None, None, 0, None)
    progress.pending.append((1, {"l1": Metric()}))
    progress.next_batch()
    assert (progress.waited >= 0.05) == step_is_done
    assert step_is_done or progress.waited == 0


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    config = small.shallow()
    run_loop(config, tmp_path)
    for file in (tmp_path / "checkpoints" / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    (tmp_path / "checkpoints" / "7").mkdir()
    shapes = state.abstract(config, models.build(config))
    assert Checkpoints(tmp_path / "checkpoints").restore(shapes).step == 2
    assert "checkpoints/4: " in caplog.text
    for file in (tmp_path / "checkpoints" / "2").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        Checkpoints(tmp_path / "checkpoints").restore(shapes)


def test_half_a_line_of_metrics_is_taken_back(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "l1": 1}\n{"step": 2, "l1": 1}\n{"st')
    writer = Writer(tmp_path, start_step=1)
    writer.scalars(2, {"l1": 0.5})
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "l1": 1}, {"step": 2, "l1": 0.5}]
