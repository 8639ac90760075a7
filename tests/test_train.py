"""The loop: resuming, diverging, stopping, damaged checkpoints; the program as a user runs it."""

import itertools
import json
import math
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import loop, small
from helpers.closeness import assert_trees_close
from helpers.loop import mesh_of, run_loop
from helpers.program import (
    Process,
    command,
    ended,
    restored,
    run,
    start,
    train_command,
    wait_for,
    wait_until,
)
from PIL import Image
from tqdm import tqdm

from scam_jax import models
from scam_jax.inference.model import TrainedModel
from scam_jax.runs import run_folder
from scam_jax.training import meter, state
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.ledger import Ledger
from scam_jax.training.step import step_compiler
from scam_jax.training.writer import Writer


@pytest.mark.slow
def test_stopped_and_started_again_is_bit_for_bit_the_same(photos, finished, tmp_path):
    """Told to stop in the middle, the same command goes on to the same weights and metrics.jsonl.

    So it does with a worker process that reads the data.
    """
    metrics = tmp_path / "metrics.jsonl"
    with ended([start(train_command(photos, tmp_path), kind=Process)]) as stopped:
        wait_until(lambda: metrics.exists() and '"step": 3' in metrics.read_text(), stopped)
        stopped[0].send_signal(signal.SIGTERM)
        wait_for(stopped, code=128 + signal.SIGTERM)
    saved = [int(f.name) for f in (tmp_path / "checkpoints").iterdir() if f.name.isdigit()]
    assert 3 <= max(saved) < 8, "the run was to be stopped before its end"
    again = run(train_command(photos, tmp_path, "--config.data.num_workers=1"))
    assert f"resuming from step {max(saved)}" in again.stderr
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
    board = b"".join(f.read_bytes() for f in (finished / "tensorboard").iterdir())
    for tag in ("panel", "weight/l1", "gradient_norm/generator", "eval/ours/PSNR"):
        assert tag.encode() in board, tag
    for timing in ("time/images_per_second", "time/seconds_compile"):
        assert timing.encode() in board, timing
    skipped = json.loads((finished / "skipped_files.json").read_text())["skipped"]
    assert [*skipped] == ["train"]
    assert [*skipped["train"]] == ["broken"]
    assert "broken.jpg (it is empty)" in skipped["train"]["broken"]


@pytest.mark.slow
def test_commands_on_the_trained_model(photos, finished, tmp_path):
    out = run(command("--mode=eval", f"--workdir={finished}")).stdout
    assert "| PSNR |  | authors |" in out
    assert (
        "- missing: R-FID (authors, ours), S-FID (authors, ours), clean R-FID (ours), "
        "clean S-FID (ours), R-KID (ours), S-KID (ours): FID needs weights/inception.npz" in out
    )
    pictures = sorted(f.name for f in (finished / "evaluation_test").glob("*.png"))
    assert pictures == [
        "attention_encoder.png",
        "attention_generator.png",
        "reconstruction.png",
        "transfer.png",
    ]
    run(command("--mode=gallery", f"--workdir={finished}", "--count=2"))
    two_rows_enlarged = (2 * (6 * 16 + 5 * 2), 2 * (2 * 20 + 2))
    assert Image.open(finished / "gallery.png").size == two_rows_enlarged
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
def test_accepted_changes_hold_from_the_step_of_the_checkpoint(photos, finished):
    """Another rate, batch size and compute type, and no average: everything that may change."""
    changes = {
        "optimizer.generator_learning_rate": 1e-5,
        "optimizer.warmup_steps": 2,
        "train.batch_size": 2,
        "train.ema_decay": 0.0,
        "model.dtype": "bfloat16",
        "train.keep_best": "psnr",
    }
    arguments = [f"--config.{key}={value}" for key, value in changes.items()]
    command = train_command(photos, finished, *arguments, "--config.train.num_steps=12")
    refused = run(command, check=False)
    assert refused.returncode == 1
    assert "config.train.batch_size from 4 to 2" in refused.stderr
    run([*command, "--accept_changes"])
    starts = [json.loads(line) for line in (finished / "runs.jsonl").read_text().splitlines()]
    assert [start["step"] for start in starts] == [0, 8]
    assert starts[-1]["changes"]["train.batch_size"] == [4, 2]
    assert "train.keep_best" not in starts[-1]["changes"]
    state = restored(finished)
    assert int(state.step) == 12
    assert state.ema is None
    assert [f.name for f in (finished / "best").iterdir()] == ["12"]
    model = TrainedModel.load(finished, checkpoint="best")
    assert model.step == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.data.directory=/nowhere"], "/nowhere"),
        (["--config.model.latent_dim=32"], "config.model.latent_dim = 32, but the weights"),
        (["--config.losses.perceptual=1.0"], "vgg19"),
    ],
)
def test_wrong_values_are_refused(photos, request, tmp_path, arguments, message):
    """In a fresh folder, or, where the run's own config matters, in the finished run's."""
    is_of_the_run = "but the weights" in message
    workdir = request.getfixturevalue("finished") if is_of_the_run else tmp_path
    result = run(train_command(photos, workdir, *arguments), check=False)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert workdir != tmp_path or not list(tmp_path.iterdir())


# The loop within this process


@pytest.fixture(scope="module")
def compiled_steps():
    """Compiled steps by config. What does not change the program is left out of it."""
    return {}


@pytest.fixture
def kept_step(compiled_steps, monkeypatch):
    """Lets loops take the step that the first one of the same program compiled."""

    def compiler(config, mesh):
        key = config.copy_and_resolve_references()
        key.train.num_steps = key.eval.every = 0

        def compile_step(train_state, batch):
            if key.to_json() not in compiled_steps:
                compile_anew = step_compiler(config, mesh)
                compiled_steps[key.to_json()] = compile_anew(train_state, batch)
            return compiled_steps[key.to_json()]

        return compile_step

    monkeypatch.setattr(loop, "step_compiler", compiler)
    return compiler


@pytest.mark.usefixtures("kept_step")
def test_a_stop_saves_the_step_it_stops_at(tmp_path):
    config, saved = small.shallow(train__num_steps=5), Checkpoints(tmp_path / "checkpoints")
    run_loop(config, tmp_path, stop_requested=lambda step: step == 3)
    assert saved.steps() == [3, 2]
    run_loop(config, tmp_path)
    assert saved.steps() == [5, 4], "the last step, too"


def test_divergence_names_metric_and_step_and_spares_the_checkpoint(
    tmp_path, kept_step, monkeypatch
):
    """The encoder's weights are not numbers in the third step; the state of step 2 stays."""
    config = small.shallow()
    spoil = jax.jit(lambda tree: jax.tree.map(lambda x: x * jnp.nan, tree))

    def compiler(config, mesh):
        def compile_step(train_state, batch):
            step, calls = kept_step(config, mesh)(train_state, batch), itertools.count(1)

            def spoiled(train_state, batch):
                params = train_state.params
                if next(calls) == 3:
                    params = {**params, "encoder": spoil(params["encoder"])}
                return step(train_state.replace(params=params), batch)

            return spoiled

        return compile_step

    monkeypatch.setattr(loop, "step_compiler", compiler)
    advice = r"metric '\w+' is nan at step 3: .*checkpoint of step 2 is intact: .*--accept_changes"
    with pytest.raises(meter.TrainingDiverged, match=advice):
        run_loop(config, tmp_path)
    folders = [f.name for f in (tmp_path / "checkpoints").iterdir() if f.name.isdigit()]
    assert folders == ["2"]
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    saved = checkpoints.restore(state.shapes_of(config, models.build(config)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(saved.params))


@pytest.mark.usefixtures("kept_step")
@pytest.mark.parametrize("ended_at", [2, 4])
def test_an_evaluation_that_was_ended_is_made_up_for(tmp_path, ended_at):
    """The state was saved before; the run goes on from it, or has nothing left to train."""
    config = small.shallow(train__num_steps=4, eval__every=2)
    ends = {ended_at}

    def evaluate(train_state):
        step = int(train_state.step)
        if step in ends:
            raise KeyboardInterrupt
        return {"eval/ours/PSNR": 20.0 + step}

    with pytest.raises(KeyboardInterrupt):
        run_loop(config, tmp_path, evaluate=evaluate)
    ends.clear()
    run_loop(config, tmp_path, evaluate=evaluate)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line for line in lines if "eval/ours/PSNR" in line] == [
        {"step": 2, "eval/ours/PSNR": 22.0},
        {"step": 4, "eval/ours/PSNR": 24.0},
    ]


@pytest.mark.parametrize("step", [0.0, 0.2, 0.6])
def test_reading_counts_as_waiting_only_while_the_device_has_run_dry(step, monkeypatch):
    begun = time.perf_counter()
    times = {"ran dry": math.inf}

    class Metric:
        def is_ready(self):
            return step == 0

        def block_until_ready(self):
            time.sleep(max(begun + step - time.perf_counter(), 0))

    def slow_batches():
        times["began to read"] = time.perf_counter()
        time.sleep(0.3)
        times["read"] = time.perf_counter()
        yield small.batch(small.config(), 0)

    def when_ready(unread):
        times["ran dry"] = when(unread)
        return times["ran dry"]

    when = meter._when_ready
    monkeypatch.setattr(meter, "_when_ready", when_ready)
    progress = meter.Meter(
        small.config(), mesh_of(1), slow_batches(), None, None, Ledger(), 0, None, ""
    )
    progress.pending.append((1, {"l1": Metric()}))
    asked = time.perf_counter()
    progress.next_batch()
    returned = time.perf_counter()
    # A device that had run dry before waits from a moment between these two on.
    first, last = (times["ran dry"],) * 2 if step else (asked, times["began to read"])
    assert max(times["read"] - last, 0) <= progress.waited <= max(returned - first, 0)


def test_the_first_step_has_no_speed(caplog):
    config = small.config()
    config.train.log_every = 1
    progress = meter.Meter(config, mesh_of(1), None, None, None, Ledger(), 0, lambda step: 1.0, "")
    caplog.set_level("INFO", "absl")
    for step in (1, 2):
        progress.pending.append((step, {"l1": jnp.ones(())}))
        progress.report(step, False, tqdm(disable=True))
    first, second = caplog.messages
    assert first.endswith(": l1 1.0000")
    assert "images/s" in second
    assert "of peak FLOPs" in second


@pytest.mark.parametrize("stops", [set(), {49}, {48, 96, 130, 198}])
def test_r1_is_written_alike_whenever_a_run_stops(stops):
    """R1 is 0 at most steps; a stop reads metrics before the log step does."""
    config = small.config(losses__lazy_r1_step=16, train__log_every=100, train__num_steps=300)
    config.train.checkpoint_every = 1000
    rows = []

    class Rows:
        scalars = staticmethod(lambda step, values: rows.append((step, values)))
        timings = staticmethod(lambda step, values: None)

    def started(step):
        return meter.Meter(config, mesh_of(1), None, Rows, None, Ledger(), step, None, "")

    progress = started(0)
    for step in range(1, 301):
        r1 = jnp.float32(step if step % 16 == 0 else 0)
        progress.pending.append((step, {"l1": jnp.ones(()), "r1": r1}))
        progress.report(step, step in stops, tqdm(disable=True))
        if step in stops:
            progress = started(step)
    of_r1 = [(step, values["r1"]) for step, values in rows if "r1" in values]
    assert of_r1 == [(96, 96.0), (192, 192.0), (288, 288.0)]
    assert [step for step, values in rows if "l1" in values] == [100, 200, 300]


def test_half_a_line_of_metrics_is_taken_back(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "l1": 1}\n{"step": 2, "l1": 1}\n{"st')
    writer = Writer(tmp_path, start_step=1)
    writer.scalars(2, {"l1": 0.5})
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "l1": 1}, {"step": 2, "l1": 0.5}]


@pytest.mark.slow
def test_a_trace_of_some_steps(photos, tmp_path):
    few = ("train.profile=2:2", "train.num_steps=4", "eval.every=0")
    run(train_command(photos, tmp_path, *(f"--config.{value}" for value in few)))
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    events = [
        event.name
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for event in line.events
    ]
    assert [name for name in events if "ExecuteHelperOnSingleDevice" in name], "the step is in it"


@pytest.mark.usefixtures("kept_step")
def test_nothing_crosses_to_the_devices_unseen(tmp_path, monkeypatch):
    monkeypatch.setattr(meter.sharding, "to_global", lambda batch, mesh: batch)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        run_loop(small.shallow(), tmp_path)
