"""Files, checkpoints and locks in a bucket, on a server of this machine."""

import contextlib
import http.server
import json
import os
import sys
import threading
import time

import pytest
from gcsfs.retry import HttpError
from google.auth import exceptions
from helpers import saved
from helpers.bucket import BUCKET, names, pointed_to
from helpers.closeness import assert_trees_close

from scam_jax import bucket_file_system, buckets, files
from scam_jax.runs import bucket_lock, lock, run_folder
from scam_jax.training import event_file
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.event_file import EventFile


@pytest.fixture
def place(bucket_server, request):
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


def test_only_committed_checkpoints_count(place):
    saved.save(place / "checkpoints", 2, 4)
    assert Checkpoints(place / "checkpoints").steps() == [4, 2]
    (place / "checkpoints" / "4" / "commit_success.txt").unlink()
    checkpoints = Checkpoints(place / "checkpoints", keep=9)
    assert checkpoints.steps() == [2]
    assert run_folder.is_begun(place)
    assert int(checkpoints.resume(saved.shapes, saved.DEVICE).step) == 2
    checkpoints.save(saved.state(4))
    checkpoints.wait()
    assert sorted(checkpoints._manager.all_steps()) == [2, 4] == checkpoints.steps()[::-1]
    assert_trees_close(Checkpoints(place / "checkpoints").restore(saved.shapes), saved.state(4))
    checkpoints.keep_only(4)
    checkpoints.close()
    assert Checkpoints(place / "checkpoints").steps() == [4]


def test_a_damaged_checkpoint_is_set_aside(place):
    saved.save(place / "checkpoints", 2, 4)
    for name in names(str(place / "checkpoints" / "4")):
        if "/d/" in f"/{name}":
            (place / "checkpoints" / "4" / name).write_bytes(b"damaged")
    checkpoints = Checkpoints(place / "checkpoints")
    assert int(checkpoints.resume(saved.shapes, saved.DEVICE).step) == 2
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


def test_the_lock_of_a_live_process_outlasts_its_bucket_s_absence(place, monkeypatch):
    """While the bucket is away, its holder cannot give a sign of life."""
    generation = buckets.generation
    asked = []

    def away_once(file):
        asked.append(file)
        time.sleep(1.5 * bucket_lock.SILENCE if len(asked) == 2 else 0)
        return generation(file)

    monkeypatch.setattr(bucket_lock, "BEAT", 0.4)
    monkeypatch.setattr(bucket_lock, "SILENCE", 2.0)
    files.write(place / lock.FILE, json.dumps({"host": "other"}))
    monkeypatch.setattr(buckets, "generation", away_once)
    assert bucket_lock._is_silent(place / lock.FILE, generation(place / lock.FILE))
    assert len(asked) > 20, "the wait began anew"


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
def test_a_lost_reply_ends_nothing(place, monkeypatch):
    """The service wrote the lock, and the same request, repeated, is refused."""
    codes, writes = [], []
    monkeypatch.setattr(os, "_exit", codes.append)
    rewrite = buckets.rewrite

    def repeated(file, content, generation):
        rewrite(file, content, generation)
        writes.append(generation)
        return rewrite(file, content, generation)

    with lock.locked(place), monkeypatch.context() as patch:
        patch.setattr(buckets, "rewrite", repeated)
        deadline = time.monotonic() + 10
        while len(writes) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(writes) >= 3
    assert codes == []
    assert names(str(place)) == []


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


@pytest.mark.usefixtures("bucket_server")
def test_no_such_bucket():
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
def answering(monkeypatch):
    """Returns a function that makes a server answer with statuses."""
    monkeypatch.setattr(bucket_file_system, "_FIRST_PAUSE", 0.05)
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


def test_a_token_that_just_ran_out_is_had_anew(answering):
    answering(401, 200)
    run_folder.place_or_bucket("--workdir", "gs://people/run")
    assert _Answers.statuses == [200], "it was not asked twice"


def unauthorized_by(cause):
    error = HttpError({"code": 401, "message": "Invalid Credentials"})
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (HttpError({"code": 401, "message": "Invalid Credentials"}), False),
        (exceptions.RefreshError("invalid_grant: Token has been expired or revoked."), False),
        (unauthorized_by(exceptions.RefreshError("invalid_grant")), False),
        (unauthorized_by(exceptions.RefreshError("internal_failure", retryable=True)), True),
        (exceptions.RefreshError("internal_failure", retryable=True), True),
        (exceptions.TransportError("Network is unreachable"), True),
        (HttpError({"code": 503, "message": "try again"}), True),
        (TimeoutError(), True),
    ],
)
def test_who_has_to_log_in_does_not_wait_for_the_server(error, is_away):
    assert bucket_file_system._is_away(error) == is_away
    refusal = bucket_file_system._refusal(error, "https://storage/b/people/o")
    assert is_away or "no permission for gs://people" in str(refusal)


def test_a_server_that_is_away_for_a_while(answering):
    answering(503, 429, 200)
    run_folder.place_or_bucket("--workdir", "gs://people/run")
    assert _Answers.statuses == [200], "it was not asked three times"


def test_a_server_that_stays_away(answering, monkeypatch):
    answering(503)
    monkeypatch.setattr(bucket_file_system, "PATIENCE", 1.0)
    monkeypatch.setattr(bucket_file_system.connected(), "_away_since", None)
    with pytest.raises(ConnectionError, match=r"not answered for \d+ seconds.*same command goes"):
        Checkpoints(buckets.path("gs://people/run")).steps()
