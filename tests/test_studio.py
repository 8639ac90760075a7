"""The studio over HTTP, without a browser: what it answers, and what it refuses."""

import concurrent.futures
import io
import json
import re
import signal
import struct
import subprocess
import time
import urllib.request
import zlib
from unittest import mock

import numpy as np
import pytest
from helpers import named_model, small
from helpers.named_model import NAMES
from helpers.program import command, start
from PIL import Image
from starlette.testclient import TestClient

from scam_jax import models
from scam_jax.commands import studio, use
from scam_jax.examples import Picture
from scam_jax.inference import attention_maps, programs, recipe, recipe_file, release
from scam_jax.inference.model import TrainedModel
from scam_jax.inference.parsing import Parsed
from scam_jax.inference.recipe import Recipe
from scam_jax.inference.release import Release
from scam_jax.studio import server
from scam_jax.studio.desk import Desk
from scam_jax.studio.library import MOST_OWN, Library
from scam_jax.training import state

HOST = "127.0.0.1:8000"


def example(seed):
    random = np.random.default_rng(seed)
    drawn = {"transfer_image": random.integers(0, 256, (16, 16, 3), dtype=np.uint8)}
    for who in ("subject", "target"):
        drawn[f"{who}_image"] = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        drawn[f"{who}_label"] = random.integers(0, 3, (16, 16), dtype=np.uint8)
    return drawn


def plain(seed):
    drawn = example(seed)
    return {"image": drawn["subject_image"], "label": drawn["subject_label"]}


@pytest.fixture(scope="module")
def model():
    return named_model.build()


@pytest.fixture
def desk(model, tmp_path):
    groups = {"test": [example(0), example(1)], "validation": [plain(2)], "empty": []}
    return Desk(model, Library(groups), tmp_path / "studio")


@pytest.fixture
def client(desk, monkeypatch):
    monkeypatch.setattr(desk, "warm_up", lambda tell: tell("nothing"))
    with TestClient(server.create(desk, [HOST]), base_url=f"http://{HOST}") as client:
        while not client.get("/api/about").json()["ready"]:
            pass
        yield client


ASKED = {
    "pictures": {"target": "test/1", "subject": "test/0"},
    "givers": {"1": {"subject": 1.0}, "2": {"subject": 0.5}},
    "absent": "target",
}


def send(client, path, header, content=b"", **options):
    body = json.dumps(header).encode() + b"\n" + content
    return client.post(f"/api/{path}", content=body, **options)


def message(answer):
    assert answer.status_code == 200, answer.text
    line, _, content = answer.content.partition(b"\n")
    return json.loads(line), content


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def chosen(labels=None):
    first = example(0)
    people = {
        who: Picture(first[f"{who}_image"], first[f"{who}_label"]) for who in ("subject", "target")
    }
    return Recipe(people, {1: {"subject": 1.0}, 2: {"subject": 0.5}}, labels)


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def upload(client, photo, labels=b"", name="a.png"):
    return send(client, "upload", {"name": name, "photo": len(photo)}, photo + labels)


def files_below(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_the_page_says_what_the_model_is(client):
    about = client.get("/api/about").json()
    assert about["groups"] == {"test": 4, "validation": 1}
    assert [label["name"] for label in about["labels"]] == [*NAMES]
    assert (about["height"], about["width"], about["has_parser"]) == (16, 16, False)
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for file in ("main.js", "style.css", "icon.svg"):
        assert f"/page/{file}" in page.text
        assert client.get(f"/page/{file}").status_code == 200


def test_everything_that_the_page_loads_is_its_own(client):
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]
    for file in ("main.js", "style.css", "people.js", "api.js"):
        assert "://" not in client.get(f"/page/{file}").text


def test_pictures_and_label_maps(client):
    shown = pixels(client.get("/api/pictures/test/3.png").content)
    np.testing.assert_array_equal(shown, example(1)["target_image"])
    labels = client.get("/api/pictures/validation/0.labels").content
    np.testing.assert_array_equal(np.frombuffer(labels, np.uint8), plain(2)["label"].ravel())


def test_a_picture_is_that_of_its_recipe(client, model):
    told, content = message(send(client, "generate", ASKED))
    np.testing.assert_array_equal(pixels(content), recipe.make(model, chosen()))
    painted = np.roll(example(0)["target_label"], 2)
    _, content = message(send(client, "generate", ASKED, painted.tobytes()))
    np.testing.assert_array_equal(pixels(content), recipe.make(model, chosen(painted)))
    assert told["remarks"] == []


def test_the_true_result_is_beside_with_the_psnr(client):
    told, content = message(send(client, "generate", ASKED))
    truth = pixels(send(client, "truth", ASKED).content)
    np.testing.assert_array_equal(truth, example(0)["transfer_image"])
    error = np.square(truth.astype(float) - pixels(content)).mean()
    assert told["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
    other = {**ASKED, "pictures": {"target": "test/3", "subject": "test/0"}}
    assert "psnr" not in message(send(client, "generate", other))[0]
    assert "not known" in send(client, "truth", other).json()["error"]


def test_what_is_saved_repeats_to_the_same_pixels(client, desk, model, tmp_path, monkeypatch):
    painted = np.roll(example(0)["target_label"], 2)
    saved = send(client, "save", ASKED, painted.tobytes()).json()
    shown = pixels(message(send(client, "generate", ASKED, painted.tobytes()))[1])
    place = f"/api/saved/{saved['folder']}"
    np.testing.assert_array_equal(pixels(client.get(f"{place}/picture.png").content), shown)
    np.testing.assert_array_equal(pixels(client.get(f"{place}/labels.png").content), painted)
    content = client.get(f"{place}/recipe.json").content

    file = tmp_path / "downloaded.json"
    file.write_bytes(content)
    monkeypatch.setattr(TrainedModel, "load", lambda *_: model)
    use.from_recipe(tmp_path, file, tmp_path / "out.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), shown)

    loaded = client.post("/api/load", content=content).json()
    again = {key: loaded[key] for key in ("pictures", "givers", "absent")}
    labels = bytes(loaded["labels"])
    np.testing.assert_array_equal(
        pixels(message(send(client, "generate", again, labels))[1]), shown
    )


def test_the_contact_sheet_has_what_was_saved(client):
    assert "nothing was saved yet" in client.get("/api/sheet.png").json()["error"]
    for _ in range(2):
        send(client, "save", ASKED)
    assert pixels(client.get("/api/sheet.png").content).shape == (34, 70, 3)


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_a_loop(client, model, form):
    answer = send(client, "loop", {**ASKED, "form": form, "count": 6})
    loop = Image.open(io.BytesIO(answer.content))
    assert (loop.format, loop.n_frames) == (form.upper(), 6)
    if form == "webp":
        loop.seek(3)
        expected = recipe.make(model, chosen())
        np.testing.assert_array_equal(np.asarray(loop.convert("RGB")), expected)


def test_attention_maps(client, model):
    told, content = message(send(client, "attention", ASKED))
    people = chosen().pictures
    assert told["givers"] == [["target", 0], ["subject", 1], ["subject", 2]]
    assert told["latents"] == [3, 2, 2]
    assert [*told["shapes"]] == ["", "target", "subject"]
    maps, start = {}, 0
    for role, shape in told["shapes"].items():
        size = np.prod(shape)
        maps[role] = np.frombuffer(content, np.uint8, size, start).reshape(shape)
        start += size
    assert start == len(content)
    mixed = recipe.latents(model, chosen())
    drawn = attention_maps.maps_of_latents(model, people["target"].labels, mixed)
    expected = drawn[told["modulations"][-1]]
    np.testing.assert_array_equal(maps[""], np.round(255 * np.clip(expected, 0, 1)))
    assert maps["subject"].max() == 255
    wrong = send(client, "attention", {**ASKED, "block": "block 9"})
    assert "there is no map" in wrong.json()["error"]


def test_a_photo_of_ones_own(client, desk, model, tmp_path):
    image, labels = plain(5)["image"], plain(5)["label"]
    big = [np.repeat(np.repeat(x, 3, 0), 3, 1) for x in (image, labels)]
    name = upload(client, png(big[0]), png(big[1])).json()["name"]
    Image.fromarray(big[0]).save(tmp_path / "a.png")
    Image.fromarray(big[1]).save(tmp_path / "b.png")
    expected = model.read(tmp_path / "a.png", tmp_path / "b.png")
    np.testing.assert_array_equal(
        pixels(client.get(f"/api/pictures/{name}.png").content), expected.image
    )
    told, _ = message(
        send(client, "generate", {**ASKED, "pictures": {"target": name}, "givers": {}})
    )
    assert told["remarks"] == []
    assert files_below(desk.folder) == [], "uploads are not kept"


def test_a_photo_without_a_label_map_gets_one_of_the_parser(client, desk, monkeypatch):
    parsed = np.eye(16, dtype=np.uint8)
    parser = lambda photo: Parsed(parsed, 0.9)  # noqa: E731
    monkeypatch.setitem(vars(desk.model), "parser", parser)
    answer = upload(client, png(plain(5)["image"])).json()
    assert answer["parsed"]
    labels = client.get(f"/api/pictures/{answer['name']}.labels").content
    np.testing.assert_array_equal(np.frombuffer(labels, np.uint8).reshape(16, 16), parsed)


def bomb(side):
    """A PNG of 60 bytes that claims to have side² pixels."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


PHOTO, LABELS = png(plain(0)["image"]), png(plain(0)["label"])


@pytest.mark.parametrize(
    ("photo", "labels", "message"),
    [
        (PHOTO, b"", "this model has no parser to draw a label map: drop the photo together"),
        (PHOTO[:60], LABELS, r"cannot read a.png \(.*\): replace or remove it"),
        (b"", LABELS, r"cannot read a.png \(it is empty\)"),
        (b"<html>", LABELS, r"cannot read a.png \(it is not a picture\)"),
        (bomb(10_000), LABELS, "more than 67 million pixels"),
        (PHOTO, LABELS[:50], "cannot read label map"),
        (PHOTO, png(np.full((16, 16), 7, np.uint8)), "label map label map .*7"),
        (PHOTO, PHOTO, "label map"),
    ],
)
def test_bad_uploads_are_refused_in_one_line(client, desk, photo, labels, message):
    answer = upload(client, photo, labels)
    assert answer.status_code == 400
    said = answer.json()["error"]
    assert "\n" not in said
    assert str(desk.folder) not in said
    assert re.search(message, said), said
    assert files_below(desk.folder) == []


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "C:\\windows\\x.png", "/etc/passwd", "..", "", "a\x00b\n.png", "x" * 500],
)
def test_names_of_uploads_lead_nowhere(client, desk, tmp_path, name):
    before = files_below(tmp_path)
    answer = upload(client, PHOTO, LABELS, name=name)
    assert answer.status_code == 200, answer.text
    assert files_below(tmp_path) == before


def test_too_large_an_upload_is_refused(client, monkeypatch):
    answer = upload(client, bytes(server.MOST_BYTES))
    assert answer.status_code == 413
    assert "larger than 64 MB" in client.get("/page/api.js").text


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({"pictures": {"target": "test/9"}}, b"", "there is no picture 'test/9'"),
        ({"pictures": {"target": "../config"}}, b"", "there is no picture"),
        ({"pictures": {"target": "own/abc"}}, b"", "there is no picture"),
        ({"pictures": {}}, b"", "pictures.target is missing"),
        ({"pictures": ["test/0"]}, b"", "pictures: names by role are needed"),
        ({"givers": {"9": {"subject": 1}}}, b"", "there is no label 9"),
        ({"givers": {"1": {"third": 1}}}, b"", "'third' is no giver"),
        ({}, b"12", "a label map of 16×16 bytes is needed, not 2"),
        ({}, bytes([9]) * 256, "labels has the label 9: need 0 … 2"),
    ],
)
def test_what_cannot_be_generated_is_said(client, changes, labels, message):
    answer = send(client, "generate", {**ASKED, **changes}, labels)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"nothing", b"[]\n", b"{\n", b"\xff\xfe\n"])
def test_requests_of_others_are_malformed(client, content):
    for path in ("generate", "save", "loop", "attention", "upload", "truth", "load"):
        answer = client.post(f"/api/{path}", content=content)
        assert answer.status_code == 400, path
        assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("path", ["../config.json", "x/../../config.json", "%2e%2e/config.json"])
def test_saved_files_are_the_only_ones(client, desk, path):
    send(client, "save", ASKED)
    (desk.folder.parent / "config.json").write_text("secret")
    assert client.get(f"/api/saved/{path}").status_code in (400, 404)
    assert client.get("/page/../desk.py").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8000"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_pages_are_refused(client, headers):
    assert client.get("/api/about", headers=headers).status_code == 403
    assert send(client, "generate", ASKED, headers=headers).status_code == 403


def test_a_page_of_its_own_origin_is_served(client):
    headers = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert send(client, "generate", ASKED, headers=headers).status_code == 200


def test_elsewhere_a_token_is_needed(desk):
    app = server.create(desk, [HOST], token="secret")

    def client():
        return TestClient(app, base_url="http://studio.example:8000", follow_redirects=False)

    for path in ("/", "/api/about", "/?token=wrong", "/?token="):
        assert client().get(path).status_code == 403
    known = client()
    answer = known.get("/?token=secret")
    assert answer.headers["location"] == "/", "the token leaves the address bar"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert known.get("/").status_code == 200
    assert known.get("/", headers={"origin": "http://evil.example"}).status_code == 403


def test_two_people_at_once(client, model):
    others = {**ASKED, "pictures": {"target": "test/3", "subject": "test/2"}}
    expected = [message(send(client, "generate", asked))[1] for asked in (ASKED, others)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        asked = [ASKED, others] * 6
        answers = threads.map(lambda one: message(send(client, "generate", one))[1], asked)
        assert [*answers] == expected * 6


def test_the_library_forgets_the_oldest_of_ones_own():
    library = Library({})
    names = []
    for i in range(MOST_OWN + 1):
        image = np.full((2, 2, 3), i, np.uint8)
        names.append(library.add(Picture(image, image[..., 0])))
    assert library[names[-1]].image[0, 0, 0] == MOST_OWN
    with pytest.raises(ValueError, match="choose or drop it again"):
        library[names[0]]


def test_a_port_in_use_is_one_line(tmp_path):
    with (
        studio._listening("127.0.0.1", 0) as other,
        pytest.raises(OSError, match=r"--port=\d+: Address already in use: give another"),
    ):
        studio._listening("127.0.0.1", other.getsockname()[1])


def test_recipes_written_by_the_studio_hold_no_paths(client, desk):
    saved = send(client, "save", ASKED).json()
    text = client.get(f"/api/saved/{saved['folder']}/recipe.json").text
    assert str(desk.folder.parent) not in text
    assert recipe_file.from_json(json.loads(text), desk.model).givers[2] == {"subject": 0.5}


@pytest.mark.slow
def test_the_command_serves_a_release_until_ctrl_c(tmp_path):
    """From the shell: the address, the examples, one line at the end, nothing left behind."""
    config = small.config()
    networks = models.build(config)
    trained = Release(config, state.create(config, networks).eval_variables(), 3, NAMES)
    examples = [example(0), example(1)]
    with mock.patch.object(programs, "export_programs", return_value={}):
        release.write(tmp_path / "release", networks, trained, {}, "", "float32", examples)
    before = files_below(tmp_path)
    options = ("--mode=studio", f"--workdir={tmp_path / 'release'}", "--port=0")
    process = start(command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = process.stdout.readline()
    assert line, process.communicate()
    url = re.search(r"http://127.0.0.1:\d+/", line)[0]
    while not (about := json.load(urllib.request.urlopen(f"{url}api/about")))["ready"]:
        time.sleep(0.2)
    assert about["groups"] == {"examples": 4}
    assert about["step"] == 3
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.strip().endswith("interrupted")
    assert files_below(tmp_path) == before
