"""Runs and data in a bucket, on a server of this machine."""

import contextlib
import http.server
import json
import os
import pathlib
import signal
import sys
import threading
import time
import urllib.request

import jax
import pytest
from helpers import small
from helpers.bucket import BUCKET, names, pointed_to, send, served
from helpers.closeness import assert_trees_close
from helpers.program import command, free_port, run, start

from data import datasets
from data.synthetic.synthetic_people import SyntheticPeople, SyntheticPeopleConfig
from scam_jax import bucket_file_system, buckets, files, models
from scam_jax.runs import bucket_lock, lock, run_folder
from scam_jax.training import event_file, state
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.event_file import EventFile


@pytest.fixture(scope="module")
def server():
    with served() as address:
        yield address


@pytest.fixture
def place(server, request):
    """A place in the bucket for one test."""
    return buckets.path(f"{BUCKET}/{request.node.name}")


def test_places_of_both_kinds():
    assert buckets.is_in_bucket("gs://people/run")
    assert not buckets.is_in_bucket("runs/gs")
    assert str(buckets.absolute("gs://people/run")) == "gs://people/run"
    assert str(buckets.resolved("gs://people/run") / "a") == "gs://people/run/a"
    assert str(buckets.path("~/run")) == os.path.expanduser("~/run")
    assert str(buckets.absolute("run")) == os.path.abspath("run")


def test_small_files_are_written_whole(place):
    files.write_json(place / "a" / "config.json", {"seed": 1})
    assert files.read_json(place / "a" / "config.json") == {"seed": 1}
    with contextlib.suppress(RuntimeError), files.replaced(place / "a" / "config.json") as stream:
        stream.write(b"half")
        raise RuntimeError
    assert files.read_json(place / "a" / "config.json") == {"seed": 1}
    assert [*files.read_json_lines(place / "metrics.jsonl")] == []
    files.check_writable("--workdir", place / "new")
    files.check_room("checkpoints", place, 2**60)
    assert names(str(place)) == ["a/config.json"]


def test_files_below(place):
    for name in ("b/config.json", "a/run/config.json", "a/run/other.json", ".hidden/config.json"):
        files.write(place / name, "{}")
    found = [str(f.relative_to(place)) for f in buckets.files_below(place, "config.json")]
    assert found == ["a/run/config.json", "b/config.json"]


def test_event_files_are_sent_in_parts(place, monkeypatch):
    monkeypatch.setattr(event_file, "MOST_BYTES", 500)
    events = EventFile(place / "tensorboard", first_step=1)
    for step in range(40):
        events.scalar("loss", 1.0, step)
    events.close()
    parts = names(str(place / "tensorboard"))
    assert len(parts) > 2
    for part in parts:
        assert b"brain.Event:2" in (place / "tensorboard" / part).read_bytes()[:100]


def saved(place, steps):
    """Checkpoints of a small state at steps; returns the folder and the last state."""
    config = small.config()
    first = state.create(config, models.build(config))
    checkpoints = Checkpoints(place, keep=9)
    for step in steps:
        first = first.replace(step=jax.numpy.asarray(step, first.step.dtype))
        checkpoints.save(first)
    checkpoints.close()
    return first


def test_only_committed_checkpoints_count(place):
    run = saved(place / "checkpoints", (2, 4))
    shapes, everywhere = jax.eval_shape(lambda: run), jax.local_devices()[0]
    assert Checkpoints(place / "checkpoints").steps() == [4, 2]
    (place / "checkpoints" / "4" / "commit_success.txt").unlink()
    checkpoints = Checkpoints(place / "checkpoints", keep=9)
    assert checkpoints.steps() == [2]
    assert run_folder.is_begun(place)
    restored = checkpoints.resume(shapes, jax.sharding.SingleDeviceSharding(everywhere))
    assert int(restored.step) == 2
    checkpoints.save(run)  # of step 4
    checkpoints.wait()
    assert sorted(checkpoints._manager.all_steps()) == [2, 4] == checkpoints.steps()[::-1]
    assert_trees_close(Checkpoints(place / "checkpoints").restore(shapes), run)
    checkpoints.keep_only(4)
    checkpoints.close()
    assert Checkpoints(place / "checkpoints").steps() == [4]


def test_a_damaged_checkpoint_is_set_aside(place):
    run = saved(place / "checkpoints", (2, 4))
    shapes = jax.eval_shape(lambda: run)
    for name in names(str(place / "checkpoints" / "4")):
        if "/d/" in f"/{name}":
            (place / "checkpoints" / "4" / name).write_bytes(b"damaged")
    checkpoints = Checkpoints(place / "checkpoints")
    where = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    assert int(checkpoints.resume(shapes, where).step) == 2
    assert checkpoints.steps() == [2]
    assert (place / "checkpoints" / "4.damaged" / "commit_success.txt").exists()


def test_no_checkpoints_in_no_folder(place):
    assert Checkpoints(place).steps() == []
    assert not run_folder.is_begun(place)


@pytest.fixture
def quick_beats(monkeypatch):
    monkeypatch.setattr(bucket_lock, "BEAT", 0.1)
    monkeypatch.setattr(bucket_lock, "SILENCE", 1.0)


@pytest.mark.usefixtures("quick_beats")
def test_one_trainer(place):
    with lock.locked(place):
        with (
            pytest.raises(
                ValueError, match=r"is being trained by another process \(process \d+ on"
            ),
            lock.locked(place),
        ):
            pass
        assert names(str(place)) == [lock.FILE]
    assert names(str(place)) == []


@pytest.mark.usefixtures("quick_beats")
def test_the_lock_of_a_killed_process_is_taken_over(place):
    files.write(place / lock.FILE, json.dumps({"host": "gone", "process": 1, "since": "then"}))
    with lock.locked(place):
        assert json.loads((place / lock.FILE).read_bytes())["process"] == os.getpid()


@pytest.mark.usefixtures("quick_beats")
def test_who_has_lost_the_lock_ends(place, monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with lock.locked(place):
        files.write(place / lock.FILE, json.dumps({"host": "other"}))
        deadline = time.monotonic() + 10
        while not codes and time.monotonic() < deadline:
            time.sleep(0.05)
    assert codes[0] == 1


@pytest.mark.usefixtures("quick_beats")
def test_a_trainer_ends_when_its_bucket_stays_away(place, monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with lock.locked(place), monkeypatch.context() as patch:

        def away(_):
            raise ConnectionError("not answered for 301 seconds")

        patch.setattr(buckets, "generation", away)
        deadline = time.monotonic() + 10
        while not codes and time.monotonic() < deadline:
            time.sleep(0.05)
    assert codes[0] == 1


def test_no_such_bucket(server):
    with pytest.raises(ValueError, match=r"--workdir=gs://nobody/run: there is no bucket nobody.*"):
        run_folder.place_or_bucket("--workdir", "gs://nobody/run")
    with pytest.raises(ValueError, match="give gs://BUCKET/FOLDER"):
        run_folder.place_or_bucket("--workdir", "gs:///run")


def test_other_addresses_are_refused():
    for value in ("s3://people/run", "https://example.com/run"):
        with pytest.raises(ValueError, match=f"--workdir={value}: a place in a file system"):
            run_folder.place_or_bucket("--workdir", value)
    with pytest.raises(ValueError, match="--output=gs://people/a: a place in a file system"):
        run_folder.place("--output", "gs://people/a")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.delitem(sys.modules, "scam_jax.bucket_file_system")
    monkeypatch.delattr("scam_jax.bucket_file_system")
    with pytest.raises(ValueError, match=r"gs://people/run: buckets need.*: pip install gcsfs"):
        buckets.path("gs://people/run")


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with the next status of a list, and then with the last."""

    statuses: list[int]

    def do_GET(self):
        statuses = type(self).statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        body = json.dumps({"error": {"message": "as the test says"}} if status != 200 else {})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def answering():
    """Returns a function that makes a server answer with statuses."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as answers:
        threading.Thread(target=answers.serve_forever, daemon=True).start()
        with pointed_to(f"http://127.0.0.1:{answers.server_port}"):
            yield lambda *statuses: setattr(_Answers, "statuses", [*statuses])
        answers.shutdown()


@pytest.mark.parametrize("status", [401, 403])
def test_no_permission(answering, status):
    answering(status)
    message = r"--workdir=gs://people/run: no permission for gs://people .*as the test says.*log in"
    with pytest.raises(ValueError, match=message):
        run_folder.place_or_bucket("--workdir", "gs://people/run")
    with pytest.raises(PermissionError, match="no permission for gs://people"):
        (buckets.path("gs://people/run") / "config.json").is_file()
    with pytest.raises(PermissionError, match="no permission for gs://people"):
        Checkpoints(buckets.path("gs://people/run")).steps()


def test_a_server_that_is_away_for_a_while(answering):
    answering(503, 429, 200)
    run_folder.place_or_bucket("--workdir", "gs://people/run")


def test_a_server_that_stays_away(answering, monkeypatch):
    answering(503)
    monkeypatch.setattr(bucket_file_system, "PATIENCE", 1.0)
    monkeypatch.setattr(bucket_file_system.connected(), "_away_since", None)
    with pytest.raises(ConnectionError, match=r"not answered for \d+ seconds.*same command goes"):
        Checkpoints(buckets.path("gs://people/run")).steps()


def _people(directory) -> "small.ConfigDict":
    config = small.config(data__height=64, data__width=64, data__num_labels=6).data
    config.update({"name": "synthetic_people", "directory": str(directory)})
    return config


def test_data_that_are_not_prepared(server):
    message = (
        "config.data.directory = gs://people/none: there is no synthetic_people.*cannot be "
        "prepared in a bucket.*gcloud storage cp -r datasets/synthetic_people gs://people/none/"
    )
    with pytest.raises(ValueError, match=message):
        datasets.prepare(_people("gs://people/none"))
    assert names("gs://people/none") == []


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
def people(tmp_path_factory, server) -> pathlib.Path:
    """Synthetic people, a few, in a folder and in the bucket."""
    folder = tmp_path_factory.mktemp("datasets")
    (name,) = (c.name for c in SyntheticPeople.BUILDER_CONFIGS if (c.height, c.width) == (64, 64))
    counts = {"num_train": 6, "num_validation": 2, "num_test": 3}
    few = SyntheticPeopleConfig(name=name, description="", height=64, width=64, **counts)
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


def _trains(workdir, data, *others):
    sizes = ("height=64", "width=64", "num_labels=6", "skip_bad_files=False")
    return command(
        "--config=tests/helpers/small_run.py",
        f"--config.data.directory={data}",
        "--config.data.name=synthetic_people",
        *(f"--config.data.{size}" for size in sizes),
        f"--workdir={workdir}",
        *others,
    )


RUN = f"{BUCKET}/runs/demo"


@pytest.fixture(scope="module")
def trained(people, tmp_path_factory):
    """A run in the bucket that was killed and went on, and one in a folder that was not."""
    local = tmp_path_factory.mktemp("local")
    run(_trains(local, people))
    arguments = _trains(RUN, f"{BUCKET}/datasets")
    with start(arguments) as process:
        metrics = buckets.path(RUN) / "metrics.jsonl"
        while not (metrics.exists() and b'"step": 5' in metrics.read_bytes()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    log = run(arguments).stderr
    assert "waiting up to 60 seconds for a sign of life" in log
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
def test_commands_read_a_run_in_a_bucket(trained, tmp_path):
    statistics = f"--config.eval.statistics_directory={tmp_path}"
    evaluated = run(command("--mode=eval", f"--workdir={RUN}", statistics)).stdout
    assert f"wrote {RUN}/evaluation_test" in evaluated
    assert "evaluation_test/figures.json" in names(RUN)
    run(command("--mode=gallery", f"--workdir={RUN}", "--count=2"))
    assert (buckets.path(RUN) / "gallery.png").read_bytes().startswith(b"\x89PNG")
    report = [sys.executable, "-m", "scam_jax.report", RUN, f"--output={tmp_path / 'report'}"]
    run(report)
    assert "demo" in (tmp_path / "report" / "report.html").read_text()
    out = tmp_path / "release"
    run(command("--mode=export", f"--workdir={RUN}", f"--output={out}", "--examples=2"))
    assert (out / "weights.safetensors").is_file()
    run(command("--mode=parser", f"--workdir={RUN}"))
    photos = out / "examples"
    shown = next(photos.glob("*_target.png"), None) or next(photos.glob("*.png"))
    given = tmp_path / "photos"
    given.mkdir()
    (given / "a.png").write_bytes(shown.read_bytes())
    run(command("--mode=label", f"--workdir={RUN}", f"--photos={given}"))
    assert (given / "labels" / "a.png").is_file()
    picture = tmp_path / "out.png"
    pair = f"{given / 'a.png'},{given / 'labels' / 'a.png'}"
    both = (f"--subject={pair}", f"--target={pair}", f"--output={picture}")
    run(command("--mode=transfer", f"--workdir={RUN}", *both))
    assert picture.is_file()


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
    log = run(_trains(other, f"{BUCKET}/datasets", *values, f"--init_from={RUN}")).stderr
    assert f"{RUN}" in log
    assert any(name.endswith(".xplane.pb") for name in names(f"{other}/profile"))
    assert Checkpoints(buckets.path(other) / "best").steps() == [4]
    run(command("--mode=gallery", f"--workdir={other}", "--count=2", "--checkpoint=best"))


@pytest.mark.slow
def test_the_studio_reads_a_run_in_a_bucket(trained):
    port = free_port()
    with start(command("--mode=studio", f"--workdir={RUN}", f"--port={port}")) as process:
        try:
            for _ in range(300):
                assert process.poll() is None
                with contextlib.suppress(OSError):
                    address = f"http://127.0.0.1:{port}/api/about"
                    with urllib.request.urlopen(address) as answer:
                        assert answer.status == 200
                        break
                time.sleep(0.2)
            else:
                raise AssertionError("the studio does not answer")
        finally:
            process.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_the_program_refuses_in_one_line(server):
    for arguments, message in (
        (_trains("gs://nobody/run", "gs://people/datasets"), "there is no bucket nobody"),
        (_trains("gs://people/new", "gs://people/none"), "cannot be prepared in a bucket"),
    ):
        refused = run(arguments, check=False)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
